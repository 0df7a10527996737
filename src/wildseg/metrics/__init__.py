"""Measures against truth: confusion matrix, multi-label scores, agreement."""
