"""Mean and standard deviation of ImageNet, the normalisation of most published encoders: RGB in [0, 1]."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
