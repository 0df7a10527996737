"""The section clip as params.yaml ships it, but for the model."""

from __future__ import annotations

from wildseg.encoders.params import Clip
from wildseg.execution import defaults


def clip_params(model: str, pretrained: str) -> Clip:
    """Return the section clip with a model and its weights."""
    return defaults.section(Clip, "clip", model=model, pretrained=pretrained)
