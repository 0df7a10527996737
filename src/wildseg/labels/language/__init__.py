"""Asking language models: what is said, to whom, what is kept of it, and what becomes of the answers."""
