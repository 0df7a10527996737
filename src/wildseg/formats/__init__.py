"""What each stage leaves on disk, by kind: where it lies, its format, and a save_/load_ pair for each."""
