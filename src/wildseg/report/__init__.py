"""Pictures and tables of results, from plain arrays and numbers."""
