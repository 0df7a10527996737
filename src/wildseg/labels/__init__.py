"""Which classes are in a frame: scores, decisions, calibration, and language models."""
