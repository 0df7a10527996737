"""The segmentation model: data, augmentation, losses, prediction, and explanations of its predictions."""
