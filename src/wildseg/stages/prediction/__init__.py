"""`wildseg predict`: the trained model's predictions of images, folders, videos and key frames, frame by frame."""
