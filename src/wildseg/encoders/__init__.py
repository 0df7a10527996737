"""Pretrained encoders, CLIP and CNN: loading, towers, attention, tokens, text vectors."""
