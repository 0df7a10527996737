"""Stage 5: a segmentation model trained on masks, scribbles or points, in one round or several."""
