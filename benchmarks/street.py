"""Map methods on real street video with truth, such as CamVid, trained on one sequence and tested on the other.

    python -m benchmarks.street FOLDER

FOLDER holds videos `<sequence>.mp4` of which every frame is annotated, and of each `<sequence>/truth/<index:06d>.png`
with the ids of CLASSES from 0; 11 is not counted. The longest sequence is trained on. CamVid: Brostow, Fauqueur and
Cipolla 2009, in the eleven classes of Badrinarayanan et al. 2017 (SegNet).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import leaderboard
from benchmarks.photographs import Photographs
from wildseg.artifacts.frames import Frame

CLASSES = {
    "sky": ["sky", "clouds"],
    "building": ["building", "house wall"],
    "pole": ["pole", "column"],
    "road": ["road", "asphalt street"],
    "pavement": ["pavement", "sidewalk"],
    "tree": ["tree", "bushes"],
    "sign": ["sign", "traffic light"],
    "fence": ["fence", "railing"],
    "car": ["car", "truck"],
    "pedestrian": ["pedestrian", "person walking"],
    "bicyclist": ["bicyclist", "person on a bicycle"],
}
STRETCH = 10  # annotated frames that are drawn together


def prepare(folder: Path) -> Photographs:
    """Return the data set that lies in a folder."""
    if len(list(folder.glob("*.mp4"))) < 2:
        raise SystemExit(f"{folder}: expected two sequences <name>.mp4 or more, with <name>/truth beside each")
    return Photographs("street", CLASSES, partial(_sources, folder), _is_test, STRETCH)


def _sources(folder: Path, videos: Path, truth: Path) -> None:
    for video in sorted(folder.glob("*.mp4")):
        (videos / video.name).symlink_to(video)
        (truth / video.stem).symlink_to(folder / video.stem / "truth")
    ids = {str(number): name for number, name in enumerate([*CLASSES, "ignore"])}
    (truth / "classes.json").write_text(json.dumps(ids), encoding="utf-8")


def _is_test(frames: Sequence[Frame]) -> np.ndarray:
    (longest, _), *_ = Counter(frame.source for frame in frames).most_common()
    return np.array([frame.source != longest for frame in frames])


if __name__ == "__main__":
    leaderboard.main(prepare, __doc__ or "")
