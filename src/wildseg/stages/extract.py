"""Stage 1: videos and photos -> key frames that differ, each assigned to train, val or test."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.project import SPLITS, Artifacts, Frame
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir, save_json
from wildseg.execution.run_frames import Results, run_frames
from wildseg.execution.runtime import Runtime
from wildseg.frames.bags.bag import choose_topics
from wildseg.frames.duplicates import DuplicateFilter
from wildseg.frames.params import Extract
from wildseg.frames.read_stats import ReadStats
from wildseg.frames.sources import Source, find_sources, ignored_files, safe_name
from wildseg.frames.split import split_source
from wildseg.stages.tasks.keyframe_extractor import KeyframeExtractor, selection_of

if TYPE_CHECKING:
    from wildseg.execution.params import Params


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write data/frames and metrics/extract.json.

    Raises:
        DataError: nothing to read, too much of it broken, or no frame left to train on.
    """
    settings = params.extract
    sources = choose_topics(find_sources(artifacts.root / settings.source), settings.topic)
    empty_dir(artifacts.frames_folder)

    several = len(sources) > 1 and runtime.workers > 1  # then progress is shown in sources, not in frames
    extractor, found = KeyframeExtractor(artifacts.root, settings, bar=not several), _Found(artifacts, settings)
    progress = "extract: sources" if several else ""
    results = run_frames(extractor, sources, runtime, progress=progress, collect=found.add)
    stats, dropped = found.stats, found.dropped
    frames = assign(found.frames, sources, stats, settings)
    try:
        stats.check(settings.max_failures)
        _check_usable(frames, stats, dropped)
    except DataError:
        empty_dir(artifacts.frames_folder)  # nothing half-done stays behind, but the list of what was broken does
        artifacts.save_quarantine("extract", stats.quarantine)
        raise
    if settings.shard_above is not None and len(frames) > settings.shard_above:
        artifacts.pack_frames([frame.name for frame in frames])
    artifacts.save_quarantine("extract", stats.quarantine)
    artifacts.save_frames(frames)  # last: whoever finds the table finds all frames, in one form
    report = summary(frames, found.scores, sources, stats, dropped)
    save_json(artifacts.metrics_path("extract.json"), report)
    _note_absent(settings.held_out, [source.name for source in sources])
    _print_notes(stats.notes)
    _note_ignored(ignored_files(artifacts.root / settings.source))
    photos = sum(number for name, number in found.cached_photos.items() if name not in results.restored)
    print(
        "extract: {kept} key frames ({train} train, {val} val, {test} test) of {sampled} looked at, {decoded} decoded; "
        "{quarantined} quarantined{cached}".format_map({**report, "cached": _cached(results, len(sources), photos)})
    )


class _Found:
    """The key frames of all sources, but for those that look like an earlier one."""

    def __init__(self, artifacts: Artifacts, settings: Extract) -> None:
        self.frames: list[Frame] = []
        self.scores: list[float] = []
        self.stats = ReadStats()
        self.dropped = Counter[str]()
        self.cached_photos: dict[str, int] = {}
        self._artifacts = artifacts
        self._bits = settings.duplicate_bits
        self._duplicates = DuplicateFilter()

    def add(self, source: Source, record: dict[str, Any]) -> None:
        """Add the key frames of a source; the files of duplicates are removed."""
        selection = selection_of(source, record)
        self.stats.add(selection.stats)
        self.dropped["blurred"] += selection.blurred
        self.cached_photos[source.name] = selection.cached_photos
        for frame in selection.chosen:
            if self._bits is not None and not self._duplicates.add_if_new(frame.signature, self._bits):
                self.dropped["duplicates"] += 1
                self._artifacts.frame_path(frame.name).unlink()
                continue
            self.frames.append(Frame(frame.name, source.name, frame.index, frame.time_s, split=""))
            self.scores.append(frame.score)


def _cached(results: Results, num_sources: int, photos: int) -> str:
    cached = [f"{results.cached} of {num_sources} sources"] if results.cached else []
    cached += [f"{photos} photos"] if photos else []
    return f", {' and '.join(cached)} from the cache" if cached else ""


def assign(frames: Sequence[Frame], sources: Sequence[Source], stats: ReadStats, settings: Extract) -> list[Frame]:
    """Return the frames with their split; photos have no time and are split by their position, as one stretch."""
    held_out = {safe_name(name) for name in settings.held_out}
    result = []
    for source in sources:
        own = [frame for frame in frames if frame.source == source.name]
        if source.name in held_out:
            result += [replace(frame, split="test") for frame in own]
        elif own:
            clocks = [frame.index if frame.time_s is None else frame.time_s for frame in own]
            splits = split_source(clocks, stats.spans[source.name], settings, timed=source.timed)
            result += [replace(frame, split=split) for frame, split in zip(own, splits, strict=True)]
    return result


def summary(
    frames: Sequence[Frame], scores: Sequence[float], sources: Sequence[Source], stats: ReadStats, dropped: Counter[str]
) -> dict[str, object]:
    """Return metrics/extract.json; `scores` are the key-frame method's, infinite for the first frame of a source.

    Of the frames looked at, `dropped_blurred` never reached the method, `dropped_similar` it did not pick, and
    `dropped_duplicates` it picked, though they look like an earlier key frame.
    """
    finite = [score for score in scores if math.isfinite(score)]
    splits = Counter(frame.split for frame in frames)
    per_source = Counter(frame.source for frame in frames)
    return {
        "decoded": stats.decoded,
        "sampled": stats.sampled,
        "kept": len(frames),
        "dropped_blurred": dropped["blurred"],
        "dropped_similar": stats.sampled - dropped.total() - len(frames),
        "dropped_duplicates": dropped["duplicates"],
        "quarantined": len(stats.quarantine),
        **{split: splits[split] for split in SPLITS},
        "score": {"min": min(finite), "median": statistics.median(finite), "max": max(finite)} if finite else {},
        "sources": {source.name: per_source[source.name] for source in sources},
    }


def _check_usable(frames: Sequence[Frame], stats: ReadStats, dropped: Counter[str]) -> None:
    if not frames:
        raise DataError(
            f"extract: expected key frames, kept none: of {stats.decoded} frames decoded {stats.sampled} were looked "
            f"at and {dropped['blurred']} were blurred; check extract.min_sharpness and data/frames/quarantine.csv"
        )
    if not any(frame.split == "train" for frame in frames):
        raise DataError(
            f"extract: expected frames to train on, but all {len(frames)} are val or test; add a source that "
            "extract.held_out does not name, or lower extract.val and extract.test"
        )


def _note_absent(held_out: Sequence[str], names: Sequence[str]) -> None:
    # The default names the test drive of the embedded example, so that naming nothing that is there is no mistake.
    absent = [name for name in held_out if safe_name(name) not in names]
    if 0 < len(absent) < len(held_out):
        print(f"extract: extract.held_out names {', '.join(absent)}, which is none of the sources {', '.join(names)}")


def _print_notes(notes: Sequence[tuple[str, str]]) -> None:
    """Print one line for each thing to say, however many files it is said of."""
    files: dict[str, list[str]] = {}
    for item, text in notes:
        files.setdefault(text, []).append(item)
    for text, items in files.items():
        print(f"extract: {items[0]}{f' and {len(items) - 1} more' if len(items) > 1 else ''}: {text}")


def _note_ignored(names: Sequence[str]) -> None:
    if names:
        print(f"extract: passed over {len(names)} that are no source by their name, such as {names[0]!r}")
