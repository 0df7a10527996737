"""The section cam of params.yaml: the CAM method, its passes and its refinement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from wildseg.core.limits import Between, Count, Natural, Options, Scales, Share, Side


@dataclass(frozen=True)
class Caa:
    """Class-aware attention affinity (CLIP-ES): which blocks, how often normalised, how far spread."""

    layers: Count
    skip_last: Natural
    sinkhorn: Annotated[int, Between(0, 1000)]
    power: Annotated[int, Between(1, 1000)]
    box: Share
    exclusive_box_ends: bool


@dataclass(frozen=True)
class Cam:
    """From frames and their labels to one activation map per class."""

    method: str
    refine: Literal["none"] | str
    scales: Scales
    flip: bool
    max_side: Side | None
    pos_embed_interpolation: Literal["bicubic", "bilinear_half"]
    boxes: str
    max_failures: Share
    options: Options
    caa: Caa

    @property
    def method_options(self) -> dict[str, Any]:
        """The options of the chosen method."""
        return self.options.get(self.method, {})
