"""The key frames of each source, chosen once: a video or photo whose bytes are known is not decoded again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wildseg.artifacts.project import Artifacts
from wildseg.core import lookup
from wildseg.core.progress import track
from wildseg.execution import fingerprint, result_store
from wildseg.frames.duplicates import Looks, looks_of
from wildseg.frames.image import shrink
from wildseg.frames.params import Extract
from wildseg.frames.reader import expected, read
from wildseg.frames.sample import Sample
from wildseg.frames.sharpness import sharpness
from wildseg.frames.sources import Source
from wildseg.frames.tally import Tally
from wildseg.stages.known_photos import DIGEST, KnownPhotos


@dataclass(frozen=True)
class Chosen:
    """A frame that the method chose; `score` is the method's, `looks` those of the whole picture.

    `picture` is the key under which its file is kept.
    """

    name: str
    index: int
    time_s: float | None
    score: float
    looks: Looks
    picture: str


@dataclass(frozen=True)
class Selection:
    """What one source gave: its key frames, what was read and what could not be, and how many frames were blurred.

    `known` says that it was not read, and `known_photos` of how many photos that holds, where it was. `problem` says
    why nothing is kept, if that is so.
    """

    chosen: list[Chosen]
    tally: Tally
    blurred: int
    known: bool = False
    known_photos: int = 0
    problem: str | None = None


class Selector:
    """Chooses the key frames of sources and writes them; each source by itself, so that several may work at once."""

    def __init__(self, artifacts: Artifacts, settings: Extract, *, bar: bool = True) -> None:
        """Remember how; nothing is read yet. `bar` shows progress within a source."""
        self._artifacts = artifacts
        self._settings = settings
        self._bar = bar
        self._store = result_store.Store.of(artifacts.root, "extract")
        options = settings.options.get(settings.method, {})
        libraries = result_store.versions("av", "numpy", "opencv-python-headless", "pillow", "scenedetect-headless")
        self._base = result_store.key_of(
            [
                [settings.fps, settings.method, options, settings.min_sharpness, settings.max_side],
                fingerprint.digest("wildseg.stages.selection", f"wildseg.methods.keyframes.{settings.method}"),
                fingerprint.digest("wildseg.stages.known_photos"),
                libraries,
            ]
        )
        self._photo_base = result_store.key_of(
            [
                fingerprint.digest("wildseg.stages.known_photos"),
                fingerprint.digest("wildseg.stages.selection"),
                libraries,
            ]
        )

    def select(self, of: Source) -> Selection:
        """Return the key frames of a source; when it returns, their files lie in data/frames.

        Raises:
            ParamsError: an option of the method means nothing.
        """
        digests = {path: _digest(path) for path in of.paths} if self._store.folder else {}
        key = result_store.key_of([self._base, of.name, of.kind, [[path.name, digests.get(path)] for path in of.paths]])
        return self._restore(of, key) or self._compute(of, key, digests)

    def _restore(self, of: Source, key: str) -> Selection | None:
        entry = self._store.get(key)
        if entry is None:
            return None
        try:
            selection = _from_record(of, entry.record)
        except (ValueError, LookupError, TypeError, AttributeError):  # whole, but not written here
            return None
        for frame in selection.chosen:
            # One by one: all frames of a long video do not fit into memory.
            picture = self._store.get(frame.picture)
            if picture is None or "frame" not in picture.files:
                return None
            self._artifacts.save_image_bytes(frame.name, picture.files["frame"])
        return replace(selection, known=True)

    def _compute(self, of: Source, key: str, digests: Mapping[Path, str]) -> Selection:
        selection = Selection([], Tally(), 0)
        photos = KnownPhotos(self._store, self._photo_base, digests)
        method = lookup.load("methods.keyframes", self._settings.method, "extract.method")
        samples = read(of, self._settings.fps, selection.tally, photos.open)
        if self._bar:
            samples = track(samples, expected([of], self._settings.fps), f"extract: {of.name}")
        sharp = _Sharp(samples, self._settings.min_sharpness)
        for sample, score in method.select(sharp, **self._settings.options.get(self._settings.method, {})):
            picture = photos.picture_key(sample.pixels, self._settings.max_side) or result_store.key_of(
                [key, sample.index]
            )
            looks = self._write(sample, picture, photos)
            selection.chosen.append(Chosen(sample.name, sample.index, sample.time_s, score, looks, picture))
        for photo, remark in photos.remarks():
            selection.tally.note(photo, remark)
        known_photos = len(of.paths) - photos.decoded if of.kind == "photos" else 0
        selection = replace(selection, blurred=sharp.blurred, known_photos=known_photos)
        if not selection.tally.passing:
            self._store.put(key, result_store.Entry(_to_record(selection)))
        return replace(selection, problem=self._store.problem)

    def _write(self, sample: Sample, picture: str, photos: KnownPhotos) -> Looks:
        """Write a key frame, from the cache if it is known; return how it looks."""
        entry = self._store.get(picture)
        if entry is not None and "frame" in entry.files and (looks := Looks.from_record(entry.record)):
            self._artifacts.save_image_bytes(sample.name, entry.files["frame"])
            return looks
        image = sample.pixels.rgb()
        looks = looks_of(image)
        content = photos.own_file(sample.pixels, self._settings.max_side)
        if content is None:
            content = self._artifacts.encode_image(shrink(image, self._settings.max_side))
        self._artifacts.save_image_bytes(sample.name, content)
        self._store.put(picture, result_store.Entry(looks.record(), {"frame": content}))
        return looks


class _Sharp(Iterable[Sample]):
    """Samples without the blurred ones, which are counted."""

    def __init__(self, samples: Iterable[Sample], limit: float) -> None:
        self._samples = samples
        self._limit = limit
        self.blurred = 0

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._samples:
            if self._limit > 0 and sharpness(sample.pixels.grey()) < self._limit:
                self.blurred += 1
                continue
            yield sample


def _digest(path: Path) -> str:
    if not path.is_file():
        return "no file"  # a pipe or a device may never end; the reader will say what is wrong with it
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return str(error)  # the reader will say what is wrong with it


def _to_record(selection: Selection) -> dict[str, Any]:
    chosen = [
        asdict(frame) | {"score": frame.score if math.isfinite(frame.score) else None, "looks": frame.looks.record()}
        for frame in selection.chosen
    ]
    return {"chosen": chosen, "tally": asdict(selection.tally), "blurred": selection.blurred}


def _from_record(of: Source, record: dict[str, Any]) -> Selection:
    chosen = []
    for row in record["chosen"]:
        score, looks = row["score"], Looks.from_record(row["looks"])
        if looks is None:
            raise ValueError("frames that look like nothing")
        chosen.append(Chosen(**(row | {"score": math.inf if score is None else score, "looks": looks})))
    if any(frame.name != f"{of.name}_{frame.index:06d}" or not DIGEST.fullmatch(frame.picture) for frame in chosen):
        raise ValueError("frames of another source")  # names become paths, and are not taken from just any file
    tally = dict(record["tally"])
    for rows in ("bad_files", "bad_frames", "notes"):
        tally[rows] = [(item, text) for item, text in tally[rows]]
    tally["spans"] = {name: (first, last) for name, (first, last) in tally["spans"].items()}
    return Selection(chosen, Tally(**tally), record["blurred"])
