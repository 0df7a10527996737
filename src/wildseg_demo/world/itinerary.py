"""Where the two demo drives lead: worlds one after the other, and stops along the path in each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wildseg_demo.world import seeds
from wildseg_demo.world.world import build_world

FRAMES_PER_SECOND = 5
_START = 1.0  # metres along the path

# Streets come often, because lane lines exist nowhere else.
_KINDS = ("street", "park", "sidewalk", "plaza", "street", "trail", "sidewalk", "street", "park", "plaza")


@dataclass(frozen=True)
class Leg:
    """The part of a drive that lies in one world."""

    seed: int
    kind: str
    frames: int
    metres_per_frame: float

    def render(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """All frames, (frames, H, W, 3) uint8 RGB, and their truth, (frames, H, W) uint8."""
        images, masks = zip(*self._views(), strict=True)
        return np.stack(images), np.stack(masks)

    def _views(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        world = build_world(self.seed, self.kind)
        for index in range(self.frames):
            yield world.render(_START + index * self.metres_per_frame)


def _drive(worlds: range, count: int, frames: int, metres_per_frame: float) -> tuple[Leg, ...]:
    return tuple(
        Leg(seed, _KINDS[index % len(_KINDS)], frames, metres_per_frame) for index, seed in enumerate(worlds[:count])
    )


# The video that the pipeline learns from, and one of places that it has never seen.
DRIVES: dict[str, tuple[Leg, ...]] = {
    "drive": _drive(seeds.DRIVE, count=12, frames=30, metres_per_frame=0.8),
    "test_drive": _drive(seeds.TEST_DRIVE, count=20, frames=8, metres_per_frame=2.4),
}
