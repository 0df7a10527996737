"""wildseg: from a field video and a list of class names to a segmentation model, with no hand-drawn pixel."""
