"""The six stages of the pipeline: each reads, computes, writes, and holds no mathematics."""
