"""How fast the pipeline is, against bare libraries measured in the same run: `python -m benchmarks`."""
