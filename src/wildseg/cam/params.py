"""The section cam of params.yaml: the CAM method, its passes and its refinement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from wildseg.core import lookup
from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Count, Natural, Options, Scales, Share, Side


@dataclass(frozen=True)
class Caa:
    """Class-aware attention affinity (CLIP-ES); see `wildseg.cam.affinity`.

    layers: blocks that are averaged, counted from the last. skip_last: blocks left out at the end before counting; in a
    model that pools its class token, the patches of the last block were never trained to attend well. sinkhorn: rounds
    of normalising columns, then rows. power: how often the affinity is applied. box: share of a map's maximum above
    which a place is inside a box. exclusive_box_ends: end boxes before the last row and column, as the published code
    does.
    """

    layers: Count
    skip_last: Natural
    sinkhorn: Annotated[int, Between(0, 1000)]
    power: Annotated[int, Between(1, 1000)]
    box: Share
    exclusive_box_ends: bool


@dataclass(frozen=True)
class Cam:
    """From frames and their labels to one activation map per class.

    method: a file of `methods/cam`. refine: a file of `methods/refine`, or several in order. options: of each of them,
    by its name; those of a refinement that has a section are the field of its name. scales: input sizes relative to the
    frame. flip: also run on the mirrored frame. max_side: frames are first shrunk so that their longer side has at most
    this many pixels. pos_embed_interpolation: how position embeddings are brought to the frame's grid. precision: of
    the training of a map network, while maps are always computed in single precision. boxes: a COCO file of boxes
    outside of which maps are 0.
    """

    method: str
    refine: Literal["none"] | str | tuple[str, ...]
    scales: Scales
    flip: bool
    max_side: Side | None
    pos_embed_interpolation: Literal["bicubic", "bilinear_half"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    boxes: str
    max_failures: Share
    options: Options
    caa: Caa

    @property
    def method_options(self) -> dict[str, Any]:
        """The options of the chosen method."""
        return self.options.get(self.method, {})

    @property
    def refinements(self) -> tuple[str, ...]:
        """The chosen refinements in their order; a list of one is the same as its name, an empty one as ``none``."""
        return lookup.named(self.refine) or ("none",)

    @property
    def refined_by(self) -> str:
        """The chosen refinements as a name: ``none``, ``caa``, or ``caa+pamr``."""
        return "+".join(self.refinements)

    @property
    def refinement_options(self) -> dict[str, dict[str, Any]]:
        """The options of those of the chosen refinements that have any, by their names."""
        return {name: self.options[name] for name in self.refinements if self.options.get(name)}

    def check(self, key: str = "cam.refine") -> None:
        """Raise a ParamsError where the order of refinements means nothing; `key` names them in its line.

        Those of the passes of an image-text model come before those of the frame, which begin where all passes have
        ended.
        """
        names = self.refinements
        if len(names) > 1 and "none" in names:
            others = ", ".join(name for name in names if name != "none")
            raise ParamsError(f"{key}: expected none alone, or refinements without it; found none beside {others}")
        ended = None
        for place, name in enumerate(names):
            if name in names[:place]:
                raise ParamsError(f"{key}: expected each refinement once, found {name} twice")
            if "image" in lookup.needs("methods.refine", name):
                ended = name
            elif ended:
                raise ParamsError(
                    f"{key}: expected {name} before {ended}; {name} refines the patches of each pass, and {ended} the "
                    "pixels of the frame after them"
                )
