"""Detectors that are asked for classes by words: a file each, with ``load(model, device)``."""
