"""Copies the artifacts of some frames from shards into a folder of plain files; shards are unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.shards import exists
from wildseg.core.errors import DataError
from wildseg.core.files import save_bytes


def unpack(artifacts: Artifacts, frames: Sequence[str], into: Path) -> None:
    """Copy key frames, maps, pseudo masks and confidence into folders named as those of ``data``; print how many.

    Args:
        artifacts: of the project, packed or not.
        frames: by name; none means all.
        into: a folder outside of ``data``; missing artifacts of a frame are skipped.

    Raises:
        DataError: there is no such frame, a file or shard is broken, or `into` is inside ``data``.
    """
    outside_of_data(artifacts, into)
    known = [frame.name for frame in artifacts.load_frames()]
    if unknown := set(frames) - set(known):
        raise DataError(f"{min(unknown)!r}: there is no such key frame; see {artifacts.frames_folder / 'frames.csv'}")
    kinds = (
        (artifacts.frame_path, artifacts.frame_bytes),
        (artifacts.maps_path, artifacts.maps_bytes),
        (artifacts.mask_path, artifacts.mask_bytes),
        (artifacts.confidence_path, artifacts.confidence_bytes),
    )
    selected = frames or known
    written = 0
    for frame in selected:
        for path_of, content_of in kinds:
            path = path_of(frame)
            if exists(path):
                save_bytes(into / path.relative_to(artifacts.data), content_of(frame))
                written += 1
    print(f"unpack: {written} files of {len(selected)} frames in {into}")


def outside_of_data(artifacts: Artifacts, into: Path) -> None:
    """Raise a DataError if the target folder is inside ``data``."""
    data = artifacts.data.resolve()
    if data in (into.resolve(), *into.resolve().parents):
        raise DataError(f"--into {into}: expected a folder outside of {artifacts.data}, whose files are DVC's")
