"""Boxes, points and scribbles: weak labels between image labels and masks."""
