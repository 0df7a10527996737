"""Optical flow on the rendered drives against the true flow, which the geometry of the world gives.

    python -m benchmarks.flow              # two minutes; nothing is written
    python -m benchmarks.flow --every 3    # of more pairs

Needs the drives (`dvc repro data/raw/dvc.yaml`), as they are encoded. Rows are pairs of video frames so many frames
apart, of one place each: flow found at once, and added up over the frames in between. End-point error is the distance
in pixels between the found and the true end of a pixel, over pixels whose true motion is known and which both frames
show (no curb, no water). *Right* is within 3 pixels or 5 % of the true length, as KITTI counts (Menze and Geiger 2015).
Consistency is the check of flow there and back.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.project import ROOT
from wildseg.core.flow import Track, tracks
from wildseg.frames.between import read_between
from wildseg.frames.sources import find_sources
from wildseg_demo.world.itinerary import DRIVES, Leg
from wildseg_demo.world.motion import Motion, motion
from wildseg_demo.world.world import build_world

START = 1.0  # metres along the path of a leg's first frame
APART = {"drive": (1, 2, 4, 6), "test_drive": (1, 2)}  # frames; key frames are 2, 4, 6, ... apart


@dataclass
class Errors:
    """End-point errors of pixels whose true motion is known, over pairs of frames."""

    pairs: int = 0
    errors: list[np.ndarray] = field(default_factory=list)  # of visible pixels
    right: list[np.ndarray] = field(default_factory=list)
    consistent: list[np.ndarray] = field(default_factory=list)
    hidden: list[np.ndarray] = field(default_factory=list)  # whether pixels that are hidden pass the check

    def add(self, found: Track, truth: Motion) -> None:
        """Count a pair."""
        error = np.linalg.norm(found.flow - truth.flow, axis=2)
        length = np.linalg.norm(truth.flow, axis=2)
        self.pairs += 1
        self.errors.append(error[truth.visible])
        self.right.append((error <= np.maximum(3, 0.05 * length))[truth.visible])
        self.consistent.append(found.consistent[truth.visible])
        self.hidden.append(found.consistent[truth.known & ~truth.visible])

    def cells(self) -> Sequence[str]:
        """Return mean and median error, that of consistent pixels, and shares."""
        errors, right, consistent, hidden = (
            np.concatenate(part) for part in (self.errors, self.right, self.consistent, self.hidden)
        )
        return (
            f"{errors.mean():.2f} ({np.median(errors):.2f})",
            f"{errors[consistent].mean():.2f} ({np.median(errors[consistent]):.2f})",
            f"{right.mean():.2f}",
            f"{right[consistent].mean():.2f}",
            f"{consistent.mean():.2f}",
            f"{hidden.mean():.2f}",
        )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=8, metavar="N", help="begin at each N-th frame; default: 8")
    given = parser.parse_args()
    print("| drive | frames apart | flow | pairs | error: mean (median) | of consistent pixels | right |", end="")
    print(" right, of consistent | consistent | hidden, yet consistent |")
    print(f"|{' --- |' * 10}", flush=True)
    for source in find_sources(ROOT / "data/raw/field"):
        name, legs = source.name, DRIVES[source.name]
        number = sum(leg.frames for leg in legs)
        images = [image for _, image in read_between(source, range(number))]
        for (apart, kind), errors in measured(legs, images, APART[name], given.every).items():
            metres = f"{apart} ({apart * legs[0].metres_per_frame:.1f} m)"
            print(f"| {' | '.join((name, metres, kind, str(errors.pairs), *errors.cells()))} |", flush=True)


def measured(
    legs: Sequence[Leg], images: Sequence[np.ndarray], apart: Sequence[int], every: int
) -> dict[tuple[int, str], Errors]:
    """Return the errors of pairs that are so many frames apart, found at once and over the frames in between."""
    kinds = [(steps, kind) for steps in apart for kind in (("at once", "step by step") if steps > 1 else ("at once",))]
    found = {kind: Errors() for kind in kinds}
    first = 0
    for leg in legs:
        for steps, kind, track, truth in _pairs(leg, images[first : first + leg.frames], apart, every):
            found[steps, kind].add(track, truth)
        first += leg.frames
    return found


def _pairs(
    leg: Leg, images: Sequence[np.ndarray], apart: Sequence[int], every: int
) -> Iterator[tuple[int, str, Track, Motion]]:
    world = build_world(leg.seed, leg.kind)
    metres = [START + index * leg.metres_per_frame for index in range(leg.frames)]
    for first in range(0, leg.frames - 1, every):
        chosen = [steps for steps in apart if first + steps < leg.frames]
        stepwise = list(tracks(images[first : first + max(chosen) + 1]))
        for steps in chosen:
            truth = motion(world, metres[first], metres[first + steps])
            if steps > 1:
                yield steps, "step by step", stepwise[steps - 1], truth
            (direct,) = tracks([images[first], images[first + steps]])
            yield steps, "at once", direct, truth


if __name__ == "__main__":
    main()
