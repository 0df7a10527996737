"""A new project of one's own video: its data, parameters and repository, and how long the first run will take."""
