"""What the stages left of some frames as plain files in a folder, for a person to look at; shards stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wildseg.artifacts import Artifacts
from wildseg.errors import DataError
from wildseg.files import save_bytes


def unpack(artifacts: Artifacts, frames: Sequence[str], into: Path) -> None:
    """Copy key frames, maps, pseudo masks and confidence into folders named as those of ``data``; print how many.

    Args:
        artifacts: of the project, packed or not.
        frames: by name; none means all.
        into: a folder outside of ``data``; what a stage has not made yet is left out.

    Raises:
        DataError: there is no such frame, a file is missing or broken, or `into` is inside ``data``.
    """
    data = artifacts.data.resolve()
    if data in (into.resolve(), *into.resolve().parents):
        raise DataError(f"--into {into}: expected a folder outside of {artifacts.data}, whose files are DVC's")
    known = [frame.name for frame in artifacts.load_frames()]
    if unknown := set(frames) - set(known):
        raise DataError(f"{min(unknown)!r}: there is no such key frame; see {artifacts.frames_folder / 'frames.csv'}")
    kinds = (
        (artifacts.frames_folder, artifacts.frame_path, artifacts.frame_bytes),
        (artifacts.cams_folder, artifacts.maps_path, artifacts.maps_bytes),
        (artifacts.masks_folder, artifacts.mask_path, artifacts.mask_bytes),
        (artifacts.confidence_folder, artifacts.confidence_path, artifacts.confidence_bytes),
    )
    made = [(path, content) for folder, path, content in kinds if folder.is_dir()]
    wanted = frames or known
    for frame in wanted:
        for path, content in made:
            save_bytes(into / path(frame).relative_to(artifacts.data), content(frame))
    print(f"unpack: {len(made)} files of each of {len(wanted)} frames in {into}")
