"""Stage 3: the network of a trained map method, and one activation map per class that is in a key frame."""
