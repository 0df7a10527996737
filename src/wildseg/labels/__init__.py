"""Which classes are in a frame: scores, decisions, a person's corrections."""
