"""The six stages, and what runs beside the pipeline: each reads, computes and writes, and holds no mathematics."""
