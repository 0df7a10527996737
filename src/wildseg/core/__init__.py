"""What everything stands on: errors, classes, parameters, files, progress, and the lookup of methods."""
