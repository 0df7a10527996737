"""Stage 1: videos and photos -> key frames that differ, each assigned to train, val or test."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from wildseg.artifacts.project import SPLITS, Artifacts, Frame
from wildseg.core.errors import DataError
from wildseg.core.files import empty_dir, save_json
from wildseg.core.params import Extract, Params
from wildseg.core.progress import track
from wildseg.execution.result_store import Store, note
from wildseg.execution.runtime import Runtime
from wildseg.execution.worker_pool import worker_pool as crew
from wildseg.frames.duplicates import KeptFrames
from wildseg.frames.sources import Source, find_sources, passed_over, safe_name
from wildseg.frames.split import split_by_time
from wildseg.frames.tally import Tally
from wildseg.stages.selection import Selection, Selector


def run(params: Params, artifacts: Artifacts, runtime: Runtime) -> None:
    """Write data/frames and metrics/extract.json.

    Raises:
        DataError: nothing to read, too much of it broken, or no frame left to train on.
    """
    settings = params.extract
    sources = find_sources(artifacts.root / settings.source)
    empty_dir(artifacts.frames_folder)

    tally, dropped = Tally(), Counter[str]()
    kept: list[Frame] = []
    scores: list[float] = []
    selections: list[Selection] = []
    seen = KeptFrames()
    kept_in = Store.of(artifacts.root, "extract")
    for source, selection in zip(sources, _selected(sources, settings, artifacts, runtime), strict=True):
        selections.append(selection)
        kept_in.give_up(selection.problem)
        tally.add(selection.tally)
        dropped["blurred"] += selection.blurred
        for frame in selection.chosen:
            if settings.duplicate_bits is not None and not seen.add_if_new(frame.looks, settings.duplicate_bits):
                dropped["duplicates"] += 1
                artifacts.frame_path(frame.name).unlink()
                continue
            kept.append(Frame(frame.name, source.name, frame.index, frame.time_s, split=""))
            scores.append(frame.score)

    known = sum(selection.known for selection in selections)
    note(kept_in, "extract", known, len(selections) - known)
    frames = assign(kept, sources, tally, settings)
    try:
        tally.check(settings.max_failures)
        _check_usable(frames, tally, dropped)
    except DataError:
        empty_dir(artifacts.frames_folder)  # nothing half-done stays behind, but the list of what was broken does
        artifacts.save_quarantine("extract", tally.quarantine)
        raise
    if settings.shard_above is not None and len(frames) > settings.shard_above:
        artifacts.pack_frames([frame.name for frame in frames])
    artifacts.save_quarantine("extract", tally.quarantine)
    artifacts.save_frames(frames)  # last: whoever finds the table finds all frames, in one form
    report = summary(frames, scores, sources, tally, dropped)
    save_json(artifacts.metrics_path("extract.json"), report)
    _note_absent(settings.held_out, [source.name for source in sources])
    _say_notes(tally.notes)
    _note_passed_over(passed_over(artifacts.root / settings.source))
    print(
        "extract: {kept} key frames ({train} train, {val} val, {test} test) of {sampled} looked at, {decoded} decoded; "
        "{quarantined} quarantined{from_cache}".format_map({**report, "from_cache": _from_cache(selections)})
    )


def _selected(
    sources: Sequence[Source], settings: Extract, artifacts: Artifacts, runtime: Runtime
) -> Iterator[Selection]:
    """Yield what each source gives, several of them at work at once; progress is shown in frames, or in sources."""
    several = len(sources) > 1 and runtime.workers > 1
    prepare = partial(_prepare, artifacts, settings, not several)
    with crew(runtime, len(sources), prepare, model=False) as workers:
        selections = workers.each(_select, sources)
        yield from track(selections, len(sources), "extract: sources") if several else selections


def _prepare(artifacts: Artifacts, settings: Extract, bar: bool, _: int) -> Selector:
    return Selector(artifacts, settings, bar=bar)


def _select(source: Source, selector: Selector) -> Selection:
    return selector.select(source)


def _from_cache(selections: Sequence[Selection]) -> str:
    sources, photos = sum(one.known for one in selections), sum(one.known_photos for one in selections)
    known = [f"{sources} of {len(selections)} sources"] if sources else []
    known += [f"{photos} photos"] if photos else []
    return f", {' and '.join(known)} from the cache" if known else ""


def assign(frames: Sequence[Frame], sources: Sequence[Source], tally: Tally, settings: Extract) -> list[Frame]:
    """Return the frames with their split; photos have no time and are split by their position, as one stretch."""
    held_out = {safe_name(name) for name in settings.held_out}
    result = []
    for source in sources:
        own = [frame for frame in frames if frame.source == source.name]
        if source.name in held_out:
            result += [replace(frame, split="test") for frame in own]
        elif own:
            splits = split_by_time(
                [frame.index if frame.time_s is None else frame.time_s for frame in own],
                tally.spans[source.name],
                val=settings.val,
                test=settings.test,
                stretch_s=settings.stretch_s if source.kind == "video" else None,
            )
            result += [replace(frame, split=split) for frame, split in zip(own, splits, strict=True)]
    return result


def summary(
    frames: Sequence[Frame], scores: Sequence[float], sources: Sequence[Source], tally: Tally, dropped: Counter[str]
) -> dict[str, object]:
    """Return metrics/extract.json; `scores` are the key-frame method's, infinite for the first frame of a source.

    Of the frames looked at, `dropped_blurred` never reached the method, `dropped_similar` it did not pick, and
    `dropped_duplicates` it picked, though they look like an earlier key frame.
    """
    finite = [score for score in scores if math.isfinite(score)]
    splits = Counter(frame.split for frame in frames)
    per_source = Counter(frame.source for frame in frames)
    return {
        "decoded": tally.decoded,
        "sampled": tally.sampled,
        "kept": len(frames),
        "dropped_blurred": dropped["blurred"],
        "dropped_similar": tally.sampled - dropped.total() - len(frames),
        "dropped_duplicates": dropped["duplicates"],
        "quarantined": len(tally.quarantine),
        **{split: splits[split] for split in SPLITS},
        "score": {"min": min(finite), "median": statistics.median(finite), "max": max(finite)} if finite else {},
        "sources": {source.name: per_source[source.name] for source in sources},
    }


def _check_usable(frames: Sequence[Frame], tally: Tally, dropped: Counter[str]) -> None:
    if not frames:
        raise DataError(
            f"extract: expected key frames, kept none: of {tally.decoded} frames decoded {tally.sampled} were looked "
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


def _say_notes(notes: Sequence[tuple[str, str]]) -> None:
    """Print one line for each thing to say, however many files it is said of."""
    files: dict[str, list[str]] = {}
    for item, text in notes:
        files.setdefault(text, []).append(item)
    for text, items in files.items():
        print(f"extract: {items[0]}{f' and {len(items) - 1} more' if len(items) > 1 else ''}: {text}")


def _note_passed_over(names: Sequence[str]) -> None:
    if names:
        print(f"extract: passed over {len(names)} that are no video and no photo by their name, such as {names[0]!r}")
