"""What a run needs and what it would meet: one file a check, each of which returns findings of one line."""
