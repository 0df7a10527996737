"""Stage 6: the trained model's predictions of key frames, and all results measured against the truth."""
