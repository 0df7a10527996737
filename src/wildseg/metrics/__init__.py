"""Measures against truth: confusion matrix and multi-label scores."""
