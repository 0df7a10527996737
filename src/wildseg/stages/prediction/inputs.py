"""What `wildseg predict` reads: images, folders of images and videos, videos, key frames, each frame under its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from wildseg.artifacts.predictions import ROLES
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError, check_regular, did_you_mean
from wildseg.core.names import is_plain
from wildseg.frames import reader
from wildseg.frames.bags.bag import choose_topics
from wildseg.frames.photos import read_photo
from wildseg.frames.read_stats import DecodeError, ReadStats
from wildseg.frames.sources import BAG_SUFFIXES, PHOTO_SUFFIXES, VIDEO_SUFFIXES, Source, find_sources, safe_name

FALLBACK_RATE = 25  # frames a second where a header has none; FFmpeg's own default


@dataclass(frozen=True)
class FrameItem:
    """A frame to predict. `pixels`: those of a video, (H, W, 3) uint8 RGB, a photo's path, or None for a key frame.

    What is a file travels to the worker as its path, and is decoded there.
    """

    name: str
    pixels: np.ndarray | Path | None
    time_s: float = 0.0

    def load(self, artifacts: Artifacts) -> np.ndarray:
        """Return the image, (H, W, 3) uint8 RGB.

        Raises:
            DataError: it cannot be read.
        """
        if self.pixels is None:
            return artifacts.load_image(self.name)
        if isinstance(self.pixels, np.ndarray):
            return self.pixels
        try:
            return read_photo(self.pixels)
        except DecodeError as error:
            raise DataError(str(error)) from error


@dataclass(frozen=True)
class Input:
    """Frames that are read one after the other: a video, or a list of files and key frames."""

    name: str
    items: tuple[FrameItem, ...] = ()
    video: Source | None = None

    @property
    def total(self) -> int | None:
        """The number of frames, of a video as its header has it; None where it has none."""
        return reader.expected([self.video], None) if self.video else len(self.items)

    @property
    def rate(self) -> Fraction:
        """Frames a second of a video, as its header has it."""
        frames, seconds = reader.header_of(self.video) if self.video else (0, 0.0)
        if not frames or not seconds:
            return Fraction(FALLBACK_RATE)
        return Fraction(frames / seconds).limit_denominator(1001)

    def frames(self, stats: ReadStats) -> Iterator[FrameItem]:
        """Yield the frames in order; what of a video cannot be read is counted in `stats` and left out."""
        if self.video is None:
            yield from self.items
            return
        for sample in reader.read(self.video, None, stats):
            yield FrameItem(f"{self.name}/{sample.name}", sample.pixels.rgb(), sample.clock_s)


def find_inputs(artifacts: Artifacts, texts: Sequence[str], topic: str | None = None) -> list[Input]:
    """Return what command-line arguments name, files and key frames that follow each other as one input.

    Args:
        artifacts: of the project, whose key frames may be named.
        texts: images, videos, folders of both (without what lies in folders inside), names of key frames; none means
            all key frames.
        topic: of recordings; None takes the only one of images.

    Raises:
        DataError: one is none of these, a topic is missing or not chosen, or two frames or videos have the same name.
    """
    if not texts:
        return [Input("key frames", tuple(FrameItem(frame.name, None) for frame in artifacts.load_frames()))]
    found: list[Input] = []
    for text in texts:
        for one in _inputs_of(artifacts, text, topic):
            if found and not found[-1].video and not one.video:
                found[-1] = Input(found[-1].name, (*found[-1].items, *one.items))
            else:
                found.append(one)
    _check_names(found)
    return found


def _inputs_of(artifacts: Artifacts, text: str, topic: str | None) -> Iterator[Input]:
    path = Path(text)
    if path.is_dir():
        for source in choose_topics(find_sources(path), topic):
            yield Input(source.name, video=source) if source.timed else _photos(source.paths)
    elif path.exists():
        yield _input_of_file(path, topic)
    else:
        table = artifacts.frames_folder / "frames.csv"
        names = [frame.name for frame in artifacts.load_frames()] if table.exists() else []
        if text not in names:
            raise DataError(f"{text}: expected an image, a video, a folder of them, or a key frame of {table}; "
                            f"there is none of these{did_you_mean(text, names)}")  # fmt: skip
        yield Input(text, (FrameItem(text, None),))


def _input_of_file(path: Path, topic: str | None) -> Input:
    try:
        check_regular(path)
    except OSError as error:
        raise DataError(f"{path}: expected an image or a video: {error}") from error
    suffix = path.suffix.lower()
    if suffix in PHOTO_SUFFIXES:
        return _photos((path,))
    if suffix in VIDEO_SUFFIXES | BAG_SUFFIXES:
        (source,) = choose_topics(find_sources(path), topic)
        return Input(source.name, video=source)
    raise DataError(f"{path}: expected an image (.jpg, .png, .tif, ...) or a video (.mp4, .mov, .mkv, ...) by its "
                    f"suffix, found {suffix or 'none'!r}")  # fmt: skip


def _photos(paths: Sequence[Path]) -> Input:
    names = [path.stem if is_plain(path.stem) else safe_name(path.stem) for path in paths]
    return Input("images", tuple(FrameItem(name, path) for name, path in zip(names, paths, strict=True)))


def _check_names(inputs: Sequence[Input]) -> None:
    """Refuse names that would write the same files; their letter case does not count, as on some file systems."""
    seen: dict[str, str] = {role: f"the folder of {role}" for role in ROLES}
    for one in inputs:
        named = [(one.name, str(one.video.paths[0]))] if one.video else [(i.name, str(i.pixels)) for i in one.items]
        for name, place in named:
            folded = name.casefold()
            earlier = seen.setdefault(folded, place)
            if earlier is not place:
                raise DataError(f"{place}: its predictions would have the name of those of {earlier}; predict them one "
                                "by one, each with an --into of its own")  # fmt: skip
