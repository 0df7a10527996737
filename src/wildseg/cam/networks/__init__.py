"""Networks that are trained to produce activation maps: what is trained, on which images, and the maps of it."""
