"""Mean and standard deviation of ImageNet's colours, which most published encoders were trained with: RGB in [0, 1]."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
