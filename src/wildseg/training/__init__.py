"""What trains a network: processes that train together, and batches that they share."""
