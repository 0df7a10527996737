"""The section clip of params.yaml: the image-text model and its templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wildseg.core.errors import ParamsError
from wildseg.core.limits import Count, Share


@dataclass(frozen=True)
class Sharpest:
    """The ranking of templates: candidates and number of frames; see `wildseg.labels.sharpness`."""

    candidates: tuple[str, ...] | Literal["auto"]
    reduction: Literal["ratio_of_sums", "mean_of_ratios"]
    guard: Share
    frames: Count


@dataclass(frozen=True)
class Clip:
    """The image-text model and its prompts."""

    model: str
    pretrained: str
    templates: tuple[str, ...] | Literal["sharpest"]
    sharpest: Sharpest

    def check(self) -> None:
        """Raise a ParamsError for templates that name no class, or lists of none."""
        sentences = (
            ("clip.templates", self.templates, "sharpest"),
            ("clip.sharpest.candidates", self.sharpest.candidates, "auto"),
        )
        for key, templates, word in sentences:
            for template in () if templates == word else templates:
                if "{}" not in template:
                    raise ParamsError(f"{key}: expected {{}} where the class goes, found {template!r}")
            if not templates:
                raise ParamsError(f"{key}: expected at least one entry, found an empty list")
