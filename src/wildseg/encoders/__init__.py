"""Pretrained encoders: CLIP and what turns class names into text vectors."""
