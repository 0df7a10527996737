"""CAM methods compared on the same frames: what their maps are worth, and what they cost."""
