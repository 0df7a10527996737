"""Where work on many frames is done. An engine is a file: `WILDSEG_ENGINE=ray` is `engines/ray.py`."""
