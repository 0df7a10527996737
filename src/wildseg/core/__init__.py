"""Shared by all rooms: errors, classes, parameters, files, progress, and the lookup of methods."""
