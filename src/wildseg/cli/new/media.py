"""What a video or a folder of photos holds, by its headers alone: seconds, frames a second, pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image

from wildseg.core.errors import DataError, check_regular
from wildseg.frames.bags.bag import bag_header, choose_topics, first_size
from wildseg.frames.lost_frames import duration_s, rate_of
from wildseg.frames.photos import FORMATS
from wildseg.frames.read_stats import DecodeError, reason_of
from wildseg.frames.sources import Source, find_sources
from wildseg.frames.streams import main_video


@dataclass(frozen=True)
class Media:
    """One source by its headers: a video, a recording or the photos of a folder.

    width, height: in pixels, of photos those of the first. seconds, rate: of a video, frames a second; None where no
    header tells how long it is. photos: how many there are; 0 of a video.
    """

    name: str
    width: int
    height: int
    seconds: float | None = None
    rate: float = 0.0
    photos: int = 0


def measure(path: Path, topic: str | None = None) -> list[Media]:
    """Return what each source at `path` holds; nothing is decoded but the first message of a recording.

    topic: of recordings; None takes the only one of images.

    Raises:
        DataError: there is no video and no photo, one cannot be opened, or a topic has to be chosen.
    """
    return [OF_KIND[source.kind](source) for source in choose_topics(find_sources(path), topic)]


def _video(source: Source) -> Media:
    (path,) = source.paths
    try:
        check_regular(path)
        with av.open(str(path)) as container:
            stream = main_video(container)
            if stream is None:
                raise DataError(f"{path}: expected a video, found a file without a picture")
            seconds = duration_s(container, stream)
            if seconds is None and container.duration:
                seconds = container.duration / av.time_base
            return Media(source.name, stream.width, stream.height, seconds, rate_of(stream))
    except (OSError, av.FFmpegError) as error:
        raise DataError(f"{path}: expected a video ({reason_of(error)})") from error


def _photos(source: Source) -> Media:
    first = source.paths[0]
    try:
        check_regular(first)
        with Image.open(first, formats=FORMATS) as image:
            return Media(source.name, *image.size, photos=len(source.paths))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{first}: expected a photo ({reason_of(error)})") from error


def _bag(source: Source) -> Media:
    try:
        width, height = first_size(source)
    except DecodeError as error:
        raise DataError(f"{source.paths[0]}: expected a recording of images ({error})") from error
    header = bag_header(source)
    return Media(source.name, width, height, header.seconds, header.rate)


OF_KIND = {"photos": _photos, "video": _video, "bag": _bag}
