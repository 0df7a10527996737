"""The section extract of params.yaml: which key frames, and how they are split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from wildseg.core.errors import ParamsError
from wildseg.core.limits import Between, Natural, Options, Seconds, Share, Side


@dataclass(frozen=True)
class Extract:
    """From videos and photos to key frames."""

    source: str
    topic: str | None
    fps: Annotated[float, Between(1e-6, 10_000)] | None
    method: str
    options: Options
    duplicate_bits: Annotated[int, Between(0, 64)] | None
    min_sharpness: Annotated[float, Between(0, 10**7)]  # no 8-bit picture has more
    max_side: Side | None
    val: Share
    test: Share
    stretch_s: Seconds | None
    held_out: tuple[str, ...]
    max_failures: Share
    shard_above: Natural | None

    def check(self) -> None:
        """Raise a ParamsError where the splits leave nothing to train on."""
        if self.val + self.test >= 1:
            raise ParamsError(
                "extract.val + extract.test: expected less than 1, so that something is left to train on; "
                f"found {self.val + self.test:g}"
            )
