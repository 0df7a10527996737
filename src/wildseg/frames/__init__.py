"""From videos and photo folders to key frames."""
