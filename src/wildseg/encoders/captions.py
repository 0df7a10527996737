"""What a model's captions were of: weights may declare it in the metadata of their safetensors file.

CLIP and its like were taught with captions of whole images, and published weights declare nothing. A model taught with
captions of regions can be asked about a part of an image without cutting that part out.
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open

REGIONS = {"captions": "regions"}


def declares_region_captions(file: Path) -> bool:
    """Say whether a file of weights declares that its model was taught with captions of regions."""
    if file.suffix != ".safetensors" or not file.is_file():
        return False
    try:
        with safe_open(file, "pt") as weights:
            return REGIONS.items() <= (weights.metadata() or {}).items()
    except (OSError, SafetensorError):
        return False  # whoever loads the weights tells what is wrong with them
