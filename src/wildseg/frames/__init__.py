"""From videos and photo folders to key frames: decoding, colour, sharpness, duplicates, splits."""
