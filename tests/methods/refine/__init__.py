"""Refinements of activation maps."""
