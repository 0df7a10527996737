"""The recipe of the tiny CLIP: captions of regions of rendered worlds, a contrastive loss, a few MB of weights."""
