"""The segmentation model: architectures, data, losses, training loop, inference."""
