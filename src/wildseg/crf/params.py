"""The sections crf and weak of params.yaml: pseudo masks by dense CRF, and boxes, points and scribbles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from wildseg.core.limits import Between, Natural, Seconds, Share

Exponent = Annotated[float, Between(0.01, 100)]
Weight = Annotated[float, Between(0, 10_000)]  # of a term of the CRF: its energies are at most 11.6
Deviation = Annotated[float, Between(0.1, 10_000)]  # of a kernel of the CRF: narrower than this, it is the pixel alone


@dataclass(frozen=True)
class Gaussian:
    """The smoothness term of the CRF; sxy in pixels."""

    weight: Weight
    sxy: Deviation


@dataclass(frozen=True)
class Bilateral:
    """The appearance term of the CRF; sxy in pixels, srgb in grey levels of 0..255."""

    weight: Weight
    sxy: Deviation
    srgb: Deviation


@dataclass(frozen=True)
class Temporal:
    """Evidence of neighbouring key frames of the same video, see `wildseg.crf.temporal`.

    neighbours: before a frame and after it, at most so many; 0 leaves each frame by itself. within_s: how many seconds
    away they are at most. weight: of a neighbour's maps beside the frame's own. min_consistent: the share of pixels on
    which flow there and back agrees below which a cut lies in between. between: how many frames between two key frames
    are decoded at most, over which flow is added up.
    """

    neighbours: Annotated[int, Between(0, 10)]
    within_s: Seconds
    weight: Annotated[float, Between(0, 100)]
    min_consistent: Share
    between: Annotated[int, Between(0, 100)]


@dataclass(frozen=True)
class Crf:
    """From activation maps to pseudo masks.

    alpha: exponent of the background score (1 - max map) ** alpha. label_prior: exponent of the image label's score, by
    which a class's map is multiplied, see `wildseg.crf.prior`; 0 leaves maps alone. sharpen: exponent of all scores
    before the CRF. iterations: of the mean field. image_mode: the colours that the appearance term compares, see
    `wildseg.crf.dense.colours`. temporal: whether neighbouring frames take part. min_confidence: pixels whose
    confidence is below become 255. confidence_from: the CRF's posterior, or the maps.
    """

    alpha: Exponent
    label_prior: Annotated[float, Between(0, 100)]
    sharpen: Exponent
    iterations: Annotated[int, Between(0, 1000)]
    gaussian: Gaussian
    bilateral: Bilateral
    image_mode: Literal["rgb", "wrap_bgr_mean"]
    temporal: Temporal
    min_confidence: Share
    confidence_from: Literal["posterior", "maps"]
    max_failures: Share


@dataclass(frozen=True)
class Weak:
    """From activation maps to boxes, points and scribbles; not part of the default pipeline.

    tau: a region is where the stretched map is above this. min_area, min_share: shares of the frame, and of the largest
    region of the class, that a region has at least. points: at most so many a class. scribble: the map's value above
    which a scribble runs. background: the largest map value of background points and scribbles, where a pixel may
    belong to no class.
    """

    tau: Share
    min_area: Share
    min_share: Share
    points: Natural
    scribble: Share
    background: Share
    pictures: Natural
    max_failures: Share
