"""Pictures and plots of what the pipeline made."""
