"""A page of results of made-up frames, whose names, answers and remarks are markup unless they are escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from wildseg.core.colours import palette
from wildseg.metrics import budget as levels
from wildseg.metrics.budget import Budget
from wildseg.metrics.confusion import confusion_matrix
from wildseg.report.frame_numbers import frame_numbers
from wildseg.report.page import Page
from wildseg.report.page_frames import frame_entry
from wildseg.report.page_tables import GroupPart, WithoutTruth
from wildseg.report.pictures import Label
from wildseg.report.sheets import photo, sheet_of_ids, sheet_of_maps

HOSTILE = ("<script>hacked = 1</script>", "<img src=x onerror='hacked = 2'>", "a \"b\" & 'c' #%3C?")
NAMES = ("background", *HOSTILE)
ANSWER = "</script><script>hacked = 3</script> I see \u2028 a lawn & a <b>road</b>."
FRAMES = 30
SIZE = (24, 32)  # height, width


def frame_name(index: int) -> str:
    """The name of a frame, with letters that a path in a page has to encode."""
    return f"dr#ve & 100% 'é' <i>_{index:06d}"


def made(folder: Path, frames: int = FRAMES, truth: bool = True) -> Page:
    """Write the pictures of frames below `folder`, and return the page that shows them."""
    noise = np.random.default_rng(0)
    budget, matrix, entries = Budget(), np.zeros((len(NAMES), len(NAMES) + 1), np.int64), []
    for index in range(frames):
        true, mask, found, of_maps = (noise.integers(1, 4, SIZE).astype(np.uint8) for _ in range(4))
        right = index / frames  # later frames are better
        found = np.where(noise.random(SIZE) < right, true, found).astype(np.uint8)
        entries.append(_entry(folder, index, noise, (true if truth else None, mask, found, of_maps)))
        if truth:
            budget.add_labels(index // 3, True, *(noise.random((3, 3)) < 0.7))
            ids = (true, of_maps, of_maps, mask, found)
            for level, one in zip(levels.STEPS, ids, strict=True):
                budget.add_matrix(level, index // 3, True, confusion_matrix(true, one, len(NAMES)))
            matrix += confusion_matrix(true, found, len(NAMES))
    without = WithoutTruth(frames, [0.5] * frames, [0.1] * frames, [0.2] * frames, [0.3] * frames)
    curve = [(float(step), 1 / step) for step in range(1, 20)]
    return Page(
        names=NAMES,
        palette=palette(NAMES[1:]),
        background=False,
        facts=[("Key frames", str(frames)), (HOSTILE[0], HOSTILE[1])],
        remarks=[HOSTILE[1]],
        parts=[GroupPart("Seen sources", frames, budget, matrix, 0.4)] if frames else [],
        without_truth=without if frames else WithoutTruth(),
        curves=[("Loss of training", curve), (HOSTILE[0], curve)] if frames else [],
        frames=entries,
        all_frames=frames,
    )


def _entry(
    folder: Path,
    index: int,
    noise: np.random.Generator,
    ids: tuple[np.ndarray | None, np.ndarray, np.ndarray, np.ndarray],
) -> dict[str, Any]:
    true, mask, found, of_maps = ids
    confidence, maps = noise.random(SIZE), noise.random((2, 3, 4))
    name = frame_name(index)
    masks = [mask, found] if true is None else [mask, found, true]
    pictures = {
        "photo": (".jpg", photo(noise.integers(0, 256, (*SIZE, 3), np.uint8))),
        "ids": (".png", sheet_of_ids(masks, palette(NAMES[1:]))),
        "maps": (".jpg", sheet_of_maps([confidence, *maps], SIZE)),
    }
    for kind, (suffix, content) in pictures.items():
        path = folder / "frames" / kind / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    record = frame_numbers(of_maps, mask, found, confidence, true, len(NAMES))
    record |= {"size": [SIZE[1], SIZE[0]], "maps": [0, 2]}
    known = true is not None
    labels = [
        Label(0, 0.9, True, known or None),
        Label(1, 0.1, False, (index == 7) if known else None),  # missed in one frame alone
        Label(2, None, True, (index != 4) if known else None),  # wrong in one
    ]
    use = "tested on" if index % 2 else "trained on"
    return frame_entry(name, HOSTILE[0], use, index / 5, labels, record, ANSWER if index == 2 else "")
