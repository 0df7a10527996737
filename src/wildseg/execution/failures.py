"""How many frames a stage may fail at before it stops: the others go on, and the list says which and why."""

from __future__ import annotations

from collections.abc import Sequence

from wildseg.core.errors import DataError


class Failures:
    """The frames that a stage could not process, up to the share of them that it may quarantine."""

    def __init__(self, stage: str, share: float, total: int) -> None:
        """Start with none.

        Args:
            stage: its name, of which ``<stage>.max_failures`` is the parameter.
            share: of the frames that may fail, 0 to 1.
            total: how many frames there are.
        """
        self.rows: list[tuple[str, str]] = []
        self._stage = stage
        self._share = share
        self._total = total

    def add(self, frame: str, reason: str) -> None:
        """Quarantine a frame that failed.

        Raises:
            DataError: that is one too many; the reason itself where it is the first.
        """
        self.rows.append((frame, reason))
        if len(self.rows) <= self._share * self._total + 1e-9 and len(self.rows) < self._total:
            return
        if len(self.rows) == 1:
            raise DataError(reason)
        name, first = self.rows[0]
        raise DataError(
            f"{self._stage}.max_failures: expected at most {100 * self._share:g}% of {self._total} frames to fail, and "
            f"one to succeed; found {len(self.rows)} that fail, first {name} ({first})"
        )

    def without(self, frames: Sequence[str]) -> list[str]:
        """Return the frames that did not fail, in their order."""
        failed = {frame for frame, _ in self.rows}
        return [frame for frame in frames if frame not in failed]

    def __str__(self) -> str:
        """Say how many there were, in a few words for the line that a stage prints; empty if there were none."""
        return f", {len(self.rows)} quarantined" if self.rows else ""
