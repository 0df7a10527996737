"""Segmentation losses, one file each; the file's name is the value of train.loss."""
