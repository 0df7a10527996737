"""Data of other tools into a project and out of it: what reads and writes project folders, beside the pipeline."""
