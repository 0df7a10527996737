"""Explanations of a trained segmenter: evidence maps and features of any of its layers."""
