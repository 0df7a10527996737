"""How work on many frames is done: frame tasks, the result store, the code fingerprint, workers and engines."""
