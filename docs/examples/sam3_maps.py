"""Maps of SAM 3, for cam.method=given, cam.refine=none: python sam3_maps.py data/frames data/labels/maps classes.json.

It runs where transformers and the weights of SAM 3 are, without wildseg. classes.json has the phrases of each class, as
params.yaml: {"lawn": ["lawn", "grass"]}. A class is max(s p, max_n m_n q_n p where q_n p > 0.5), of its phrases the
largest: presence p, semantic map s, scores q_n and masks m_n of instances (SegEarth-OV3, arXiv:2512.08730).
"""

import json
import sys
from pathlib import Path

import numpy as np

Answer = tuple[float, np.ndarray, np.ndarray, np.ndarray]  # p, s (h, w), q (n,), m (n, h, w), all in [0, 1]
INSTANCES = 30


def fused(presence: float, semantic: np.ndarray, scores: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the map (h, w) in [0, 1] of one phrase."""
    sure = scores * presence  # (n,)
    instances = (masks * sure[:, None, None])[sure > 0.5]
    return np.maximum(semantic * presence, instances.max(0, initial=0))


def main(source: Path, target: Path, classes: dict[str, list[str]]) -> None:
    """Write one archive of maps for each key frame."""
    import torch
    from PIL import Image
    from transformers import Sam3Model, Sam3Processor

    model, processor = Sam3Model.from_pretrained("facebook/sam3").eval(), Sam3Processor.from_pretrained("facebook/sam3")

    @torch.no_grad()
    def query(image: Image.Image, phrase: str) -> Answer:
        found = model(**processor(images=image, text=phrase, return_tensors="pt"))
        best = found.pred_logits[0].topk(INSTANCES).indices
        numbers = (found.semantic_seg[0, 0], found.pred_logits[0, best], found.pred_masks[0, best])
        semantic, scores, masks = (number.sigmoid().float().numpy() for number in numbers)
        return float(found.presence_logits[0, 0].sigmoid()), semantic, scores, masks

    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.jpg")):
        image = Image.open(path)
        maps = {name: [fused(*query(image, phrase)) for phrase in phrases] for name, phrases in classes.items()}
        np.savez_compressed(target / f"{path.stem}.npz", **{name: np.max(own, 0) for name, own in maps.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(Path(sys.argv[3]).read_text()))
