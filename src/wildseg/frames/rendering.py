"""From a decoded frame to the picture that it stands for: sRGB, opaque, in square pixels, upright.

What is transparent becomes black, by the one rule of photos and video (`wildseg.frames.image.composite_on_black`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import Interpolation

from wildseg.frames import deinterlace
from wildseg.frames.frame_copy import FrameCopier
from wildseg.frames.geometry import PixelShape, display_orientation, is_possible, square_size, stretch
from wildseg.frames.image import Orientation, composite_on_black, resize
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.video_colour import Coding, coding_of, to_srgb

# Exact rounding costs a few milliseconds for the few frames that are kept, and gives the same bytes on every processor.
SCALING = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.BITEXACT

# By whether light must be computed, and whether there is an opacity. 16 bits keep the steps of dark PQ apart; they are
# planar, because libswscale writes nonsense where it makes rgb48 of 4:2:0 by area.
FORMATS = {(False, False): "rgb24", (False, True): "rgba", (True, False): "gbrp16le", (True, True): "gbrap16le"}

STRIP = 1 << 20  # pixels whose light is computed at once, so that a large frame takes no memory by the gigabyte


class RenderSpec(NamedTuple):
    """What must be done to a frame.

    `ratio` is the width of its pixels by their height, `coding` says how its numbers stand for light, and None that
    libswscale's own conversion is right; `has_alpha` says whether it may be transparent.
    """

    orientation: Orientation
    ratio: Fraction
    coding: Coding | None
    has_alpha: bool

    @property
    def is_plain(self) -> bool:
        """Whether the frame's own numbers are those of the picture, but for their layout and size."""
        return self.coding is None and not self.has_alpha

    def square_size(self, width: int, height: int) -> tuple[int, int]:
        """Return the (width, height) of a frame of this stored size in square pixels, before it is turned."""
        return square_size(width, height, self.ratio)


class RenderSpecs:
    """The views of a file's frames, each computed when the first such frame comes, and what to say of it noted then."""

    def __init__(
        self, stream: av.VideoStream, context: av.VideoCodecContext, copier: FrameCopier, item: str, stats: ReadStats
    ) -> None:
        """Remember the stream and its decoder, and under which name remarks go to which tally."""
        self._context = context
        self._copier = copier
        self._shape = PixelShape(stream, context)
        self._item = item
        self._stats = stats
        self._known: dict[tuple[object, ...], RenderSpec] = {}
        self._shape_said = False

    def of(self, frame: av.VideoFrame, coded_ratio: Fraction | None) -> RenderSpec:
        """Return the view of a frame of which the coded stream says how wide its pixels are by their height."""
        # By all that it depends on. Of the turn this is the angle, because asking PyAV for a frame's side data ties
        # the frame to itself, and its memory is then freed only by the garbage collector, now and then: a copy is
        # asked, whose memory is not the decoder's.
        declared = self._shape.of(coded_ratio)
        key = (
            frame.rotation, frame.format.name, frame.width, frame.height, declared, frame.interlaced_frame,
            frame.color_trc, frame.color_primaries, frame.colorspace,
        )  # fmt: skip
        if key not in self._known:
            self._known[key] = self._spec(frame, declared)
        return self._known[key]

    def _spec(self, frame: av.VideoFrame, declared: Fraction | None) -> RenderSpec:
        coding = coding_of(frame, self._context)
        for remark in coding.remarks:
            self._stats.note(self._item, remark)
        if frame.interlaced_frame:
            self._stats.note(self._item, deinterlace.REMARK)
        ratio = stretch(declared, frame.width, frame.height)
        if not self._shape_said and (of_shape := _of_shape(frame, declared, ratio)):
            self._stats.note(self._item, of_shape)
            self._shape_said = True
        return RenderSpec(
            orientation=display_orientation(self._copier.copy(frame)),
            ratio=ratio,
            coding=coding if _is_special(coding, frame.format) else None,
            has_alpha=_has_alpha(frame.format),
        )


def render(frame: av.VideoFrame, spec: RenderSpec, width: int, height: int) -> np.ndarray:
    """Return (height, width, 3) uint8 sRGB of a frame, not yet turned, black where it is transparent."""
    wide = spec.coding is not None and spec.coding.is_wide
    # Colours under transparent pixels must be gone before neighbours are averaged.
    size = spec.square_size(frame.width, frame.height) if spec.has_alpha else (width, height)
    matrix = spec.coding.source_matrix if spec.coding is not None else None
    stored = frame.reformat(
        *size, FORMATS[wide, spec.has_alpha], src_colorspace=matrix, dst_colorspace=matrix,
        interpolation=SCALING, threads=1,
    ).to_ndarray()  # fmt: skip
    picture = np.empty((*stored.shape[:2], 3), np.uint8)
    rows = max(1, STRIP // stored.shape[1])
    for top in range(0, len(stored), rows):
        picture[top : top + rows] = _opaque(stored[top : top + rows], spec.coding if wide else None)
    return resize(picture, width, height)


def _opaque(stored: np.ndarray, coding: Coding | None) -> np.ndarray:
    """Return (H, W, 3) uint8 sRGB on black of (H, W, 3 or 4) uint8 sRGB, or uint16 coded as `coding` says."""
    colours = stored[..., :3] if coding is None else to_srgb(stored[..., :3], coding)
    if stored.shape[2] == 3:
        return colours
    opacity = stored[..., 3]
    return composite_on_black(
        colours, opacity if coding is None else ((opacity.astype(np.uint32) + 128) // 257).astype(np.uint8)
    )


def _of_shape(frame: av.VideoFrame, declared: Fraction | None, ratio: Fraction) -> str | None:
    if declared is not None and not is_possible(declared):
        aspect = f"{declared.numerator}:{declared.denominator}"
        return f"its pixels cannot be {aspect} in width to height; they are taken as square"
    if ratio == 1:
        return None
    width, height = square_size(frame.width, frame.height, ratio)
    shape = f"{ratio.numerator}:{ratio.denominator}"
    return f"anamorphic video with pixels of {shape}, shown square: {frame.width}x{frame.height} as {width}x{height}"


def _is_special(coding: Coding, stored: av.VideoFormat) -> bool:
    """Say whether libswscale's own conversion is not right; a matrix matters only where there is one to undo."""
    return coding.is_wide or (coding.source_matrix is not None and not stored.is_rgb and not stored.has_palette)


def _has_alpha(stored: av.VideoFormat) -> bool:
    # Of a palette PyAV does not say it; where a codec knows no opacity, FFmpeg makes all colours opaque.
    return stored.has_palette or any(component.is_alpha for component in stored.components)
