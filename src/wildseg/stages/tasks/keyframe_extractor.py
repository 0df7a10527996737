"""The key frames of each source, chosen once: a video or photo whose bytes are known is not decoded again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.frames import KeyFrames
from wildseg.core import lookup
from wildseg.core.files import sha256_of
from wildseg.core.progress import track
from wildseg.execution import fingerprint, result_store
from wildseg.execution.frame_task import FrameTask
from wildseg.execution.result_store import Entry, ResultStore, fields_but, key_of
from wildseg.frames.duplicates import ImageSignature, signature_of
from wildseg.frames.image import shrink
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.reader import expected, read
from wildseg.frames.sample import Sample
from wildseg.frames.sharpness import sharpness
from wildseg.frames.sources import Source
from wildseg.stages.tasks.photo_cache import DIGEST, PhotoCache

if TYPE_CHECKING:
    from wildseg.frames.params import Extract

# Parameters of what follows the choice of key frames, and those of the choice: not of how a key frame is written.
AFTER_CHOICE = (
    "source",
    "topic",
    "duplicate_bits",
    "val",
    "test",
    "stretch_s",
    "held_out",
    "max_failures",
    "shard_above",
)
OF_CHOICE = ("fps", "method", "options", "min_sharpness")


@dataclass(frozen=True)
class Chosen:
    """A frame that the method chose; `score` is the method's, `signature` those of the whole picture.

    `picture` is the key under which its file is kept.
    """

    name: str
    index: int
    time_s: float | None
    score: float
    signature: ImageSignature
    picture: str


@dataclass(frozen=True)
class Selection:
    """What one source gave: its key frames, what was read and what could not be, and how many frames were blurred.

    `cached_photos` is how many of its photos were not decoded when it was computed.
    """

    chosen: list[Chosen]
    stats: ReadStats
    blurred: int
    cached_photos: int = 0


@dataclass
class KeyframeExtractor(FrameTask[Source]):
    """Chooses the key frames of a source and writes them; each source by itself, so that several may work at once.

    A video's key frames do not fit into memory together, so each is written and stored as soon as it is chosen, under a
    key of its own; the result of the source is the list of them.

    settings: the section of params.yaml. bar: whether to show progress within a source.
    """

    settings: Extract
    bar: bool

    results: ResultStore = field(init=False, repr=False)
    key: str = field(init=False, repr=False)  # of all sources
    photo_key: str = field(init=False, repr=False)  # of all photos, whatever chooses among them
    digests: dict[Path, str] = field(init=False, repr=False)  # of the files of the source at hand

    stage = "extract"
    libraries = ("av", "numpy", "opencv-python-headless", "pillow", "scenedetect-headless")
    keyed_by_workers = True  # which share the work of reading large files

    def depends_on(self) -> dict[str, Any]:
        """Return what chooses key frames, and how large they are."""
        chosen = fields_but(self.settings, *AFTER_CHOICE, "options")
        return {"extract": chosen | {"options": self.settings.options.get(self.settings.method, {})}}

    def methods(self) -> tuple[str, ...]:
        """Return the module of the key-frame method."""
        return (f"wildseg.methods.keyframes.{self.settings.method}",)

    def name(self, item: Source) -> str:
        """Return the name of the source."""
        return item.name

    def setup(self, device: str) -> Sequence[str]:
        """Open the result store, and make the keys of what is stored beside the results of whole sources."""
        self.results = ResultStore.of(self.root, self.stage)
        versions = result_store.versions(*self.libraries)
        self.key = key_of([self.depends_on(), self.code(), versions])
        codes = [fingerprint.digest("wildseg.stages.tasks.photo_cache"), fingerprint.digest(type(self).__module__)]
        self.photo_key = key_of([codes, versions])
        return ()

    def inputs(self, item: Source) -> list[Any]:
        """Return the name and kind of a source, and the digests of its files."""
        self.digests = {path: _digest(path) for path in item.paths} if self.results.folder else {}
        return self._identity(item)

    def _identity(self, item: Source) -> list[Any]:
        files = [[path.name, self.digests.get(path)] for path in item.paths]
        return [item.name, item.kind, files] + ([item.topic] if item.kind == "bag" else [])

    def restore(self, item: Source, entry: Entry) -> bool:
        """Write the key frames that were chosen; False where one of them is not stored any more."""
        try:
            selection = selection_of(item, entry.record)
        except (ValueError, LookupError, TypeError, AttributeError):  # whole, but not written here
            return False
        for frame in selection.chosen:
            # One by one: all frames of a long video do not fit into memory.
            picture = self.results.get(frame.picture)
            if picture is None or "frame" not in picture.files:
                return False
            KeyFrames(self.root).save_image_bytes(frame.name, picture.files["frame"])
        return True

    def compute(self, item: Source) -> Entry:
        """Choose key frames and write them; called after `inputs`, in the same worker.

        Raises:
            ParamsError: an option of the method means nothing.
        """
        selection = Selection([], ReadStats(), 0)
        photos = PhotoCache(self.results, self.photo_key, self.digests)
        method = lookup.load("methods.keyframes", self.settings.method, "extract.method")
        own = key_of([self.key, *self._identity(item)])
        options = self.settings.options.get(self.settings.method, {})
        pictures = fields_but(self.settings, *AFTER_CHOICE, *OF_CHOICE)
        # Closed here, also after an error: the thread that reads ahead is not left to the garbage collector.
        with closing(read(item, self.settings.fps, selection.stats, photos.open)) as samples:
            sharp = _Sharp(self._shown(item, samples), self.settings.min_sharpness)
            for sample, score in method.select(sharp, **options):
                picture = photos.picture_key(sample.pixels, pictures) or key_of([own, sample.index])
                signature = self._write(sample, picture, photos)
                selection.chosen.append(Chosen(sample.name, sample.index, sample.time_s, score, signature, picture))
        for photo, remark in photos.remarks():
            selection.stats.note(photo, remark)
        cached_photos = len(item.paths) - photos.decoded if item.kind == "photos" else 0
        selection = replace(selection, blurred=sharp.blurred, cached_photos=cached_photos)
        return Entry(_to_record(selection), transient=bool(selection.stats.transient))

    def _shown(self, item: Source, samples: Iterator[Sample]) -> Iterator[Sample]:
        if not self.bar:
            return samples
        return track(samples, expected([item], self.settings.fps), f"extract: {item.name}")

    def _write(self, sample: Sample, picture: str, photos: PhotoCache) -> ImageSignature:
        """Write a key frame, from the cache if it is known; return how it looks."""
        frames = KeyFrames(self.root)
        entry = self.results.get(picture)
        if entry is not None and "frame" in entry.files and (signature := ImageSignature.from_record(entry.record)):
            frames.save_image_bytes(sample.name, entry.files["frame"])
            return signature
        image = sample.pixels.rgb()
        signature = signature_of(image)
        content = photos.own_file(sample.pixels, self.settings.max_side)
        if content is None:
            content = frames.encode_image(shrink(image, self.settings.max_side))
        frames.save_image_bytes(sample.name, content)
        self.results.put(picture, Entry(signature.record(), {"frame": content}))
        return signature


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
        return sha256_of(path)
    except OSError as error:
        return str(error)  # the reader will say what is wrong with it


def _to_record(selection: Selection) -> dict[str, Any]:
    chosen = [
        asdict(frame)
        | {"score": frame.score if math.isfinite(frame.score) else None, "signature": frame.signature.record()}
        for frame in selection.chosen
    ]
    return {"chosen": chosen, "stats": asdict(selection.stats), "blurred": selection.blurred,
            "cached_photos": selection.cached_photos}  # fmt: skip


def selection_of(source: Source, record: dict[str, Any]) -> Selection:
    """Return what `KeyframeExtractor.compute` made a record of.

    Raises:
        Exception: it is no such record, or one of another source.
    """
    chosen = []
    for row in record["chosen"]:
        score, signature = row["score"], ImageSignature.from_record(row["signature"])
        if signature is None:
            raise ValueError("frames that look like nothing")
        chosen.append(Chosen(**(row | {"score": math.inf if score is None else score, "signature": signature})))
    if any(frame.name != f"{source.name}_{frame.index:06d}" or not DIGEST.fullmatch(frame.picture) for frame in chosen):
        raise ValueError("frames of another source")  # names become paths, and are not taken from just any file
    stats = dict(record["stats"])
    for rows in ("bad_files", "bad_frames", "notes"):
        stats[rows] = [(item, text) for item, text in stats[rows]]
    stats["spans"] = {name: (first, last) for name, (first, last) in stats["spans"].items()}
    return Selection(chosen, ReadStats(**stats), record["blurred"], record["cached_photos"])
