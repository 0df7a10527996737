"""What each stage leaves on disk: one module per kind, with its path, its format, and how it is saved and loaded."""
