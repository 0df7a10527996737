"""Interlaced video of a moving bar, whose place at the moment of each field is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph

WIDTH, HEIGHT, BAR, STEP, START = 352, 288, 20, 6, 40


def moment(field: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return (height, width, 3): a red bar on green, 6 pixels further right with each field."""
    image = np.full((height, width, 3), (70, 90, 60), np.uint8)
    image[:, START + STEP * field :][:, :BAR] = (230, 60, 40)
    return image


def woven(number: int, *, top_first: bool, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Return the frame of this number: rows of two moments in turn."""
    image = moment(2 * number, width, height)
    later = 1 if top_first else 0
    image[later::2] = moment(2 * number + 1, width, height)[later::2]
    return image


def bar_columns(image: np.ndarray) -> set[tuple[int, int]]:
    """Return the first and last column of the bar in every row, each pair once."""
    return {(int(np.flatnonzero(row)[0]), int(np.flatnonzero(row)[-1])) for row in image[..., 0] > 150}


def write_interlaced(
    path: Path,
    codec: str,
    pixel_format: str,
    *,
    top_first: bool = True,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    count: int = 6,
    progressive: frozenset[int] = frozenset(),
    ratio: Fraction | None = None,
    **options: str,
) -> Path:
    """Write `count` interlaced frames; those whose numbers are in `progressive` show one moment and are marked so.

    `ratio` is the width of a pixel by its height.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        if ratio is not None:
            stream.codec_context.sample_aspect_ratio = ratio
        for number in range(count):
            whole = number in progressive
            image = (
                moment(2 * number, *size)
                if whole
                else woven(number, top_first=top_first, width=size[0], height=size[1])
            )
            mode = "prog" if whole else "tff" if top_first else "bff"
            frame = _marked(av.VideoFrame.from_ndarray(image, "rgb24"), mode, pixel_format, interlaced=not whole)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def _marked(frame: av.VideoFrame, mode: str, pixel_format: str, *, interlaced: bool) -> av.VideoFrame:
    frame = frame.reformat(format="yuv444p")
    graph = Graph()
    nodes = [graph.add_buffer(template=frame, time_base=Fraction(1, 25)), graph.add("setparams", f"field_mode={mode}")]
    nodes += [
        graph.add("scale", f"interl={int(interlaced)}"),
        graph.add("format", pixel_format),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*nodes).configure()
    graph.push(frame)
    return graph.pull()
