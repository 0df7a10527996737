"""Boxes, points and scribbles: labels weaker than masks and stronger than the names of what is in a frame."""
