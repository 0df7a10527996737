"""data/memory/bank.npz: regions of key frames by which `cam.refine: memory` names those of others; no stage writes it.

One archive of numbers: the arrays of `wildseg.cam.memory.Bank`, and `about`, JSON as bytes: what the regions were made
by, and the frames. The same content has the same bytes, so the SHA-256 of the file is the digest of the bank.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.artifacts.folder import Project
from wildseg.cam.memory import Bank, Origin
from wildseg.core.arrays import MAX_ARRAY, load_arrays
from wildseg.core.errors import DataError, check_regular
from wildseg.core.files import save_bytes, sha256_of, unreadable

REGIONS = 200_000  # that a bank holds at most
FORMAT = 1
AGAIN = "'wildseg memory --rebuild' makes a new one"


@dataclass(frozen=True)
class AboutBank:
    """What a bank was made by.

    made_by: the model, and the parameters that regions depend on, as JSON holds them. digests: of the frames that were
    read, by their names, the SHA-256 of the file.
    """

    made_by: Mapping[str, Any]
    digests: Mapping[str, str]


class MemoryFiles(Project):
    """data/memory."""

    @property
    def bank_npz(self) -> Path:
        """The bank."""
        return self.data / "memory" / "bank.npz"

    def bank_digest(self) -> str:
        """Return the SHA-256 of the bank, hex.

        Raises:
            DataError: it is missing, or cannot be read.
        """
        try:
            check_regular(self.bank_npz)
            return sha256_of(self.bank_npz)
        except OSError as error:
            raise unreadable(self.bank_npz, "a bank of regions, which 'wildseg memory' builds", error) from error

    def save_bank(self, bank: Bank, about: AboutBank) -> None:
        """Write the bank."""
        frames = [[own.frame, own.source, own.time_s, about.digests[own.frame]] for own in bank.frames]
        text = json.dumps({"format": FORMAT, "made_by": about.made_by, "frames": frames}, sort_keys=True)
        content = io.BytesIO()
        np.savez(
            content,
            about=np.frombuffer(text.encode(), np.uint8),
            keys=bank.keys.astype(np.float16),
            values=bank.values.astype(np.float16),
            areas=bank.areas.astype(np.float32),
            owners=bank.owners.astype(np.int32),
        )
        save_bytes(self.bank_npz, content.getvalue())

    def load_about_bank(self) -> AboutBank:
        """Read what the bank was made by, and nothing else.

        Raises:
            DataError: it is missing or broken.
        """
        return self._about()[0]

    def load_bank(self) -> Bank:
        """Read the bank.

        Raises:
            DataError: it is missing or broken.
        """
        frames = self._about()[1]
        keys, values, areas, owners = load_arrays(self.bank_npz, "keys", "values", "areas", "owners")
        bank = Bank(keys, values, areas, owners, frames)
        if problem := _problem(bank):
            raise DataError(f"{self.bank_npz}: expected a bank of regions, found {problem}; {AGAIN}")
        return bank

    def _about(self) -> tuple[AboutBank, tuple[Origin, ...]]:
        (raw,) = load_arrays(self.bank_npz, "about")
        try:
            content = json.loads(raw.astype(np.uint8).tobytes())
            if content["format"] != FORMAT:
                raise ValueError(f"the format {content['format']!r}")
            rows = [
                (str(frame), str(source), None if time_s is None else float(time_s), str(digest))
                for frame, source, time_s, digest in content["frames"]
            ]
            made_by = dict(content["made_by"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{self.bank_npz}: expected a bank of regions ({error}); {AGAIN}") from error
        frames = tuple(Origin(frame, source, time_s) for frame, source, time_s, _ in rows)
        return AboutBank(made_by, {frame: digest for frame, _, _, digest in rows}), frames


def most_regions(keys: int, values: int) -> int:
    """Return how many regions a bank holds at most, whose vectors have so many numbers: what can be read again."""
    return min(REGIONS, MAX_ARRAY // (2 * max(keys, values, 1)))


def _problem(bank: Bank) -> str | None:
    """Return what keeps a bank from being used, None where nothing does."""
    number = len(bank.areas) if bank.areas.ndim == 1 else -1
    tables = (bank.keys, bank.values)
    if any(one.ndim != 2 or one.dtype != np.float16 or len(one) != number or not one.shape[1] for one in tables):
        return "vectors of another shape or type"
    if bank.areas.dtype != np.float32 or bank.owners.dtype != np.int32 or bank.owners.shape != (number,):
        return "areas or frames of another shape or type"
    if number > REGIONS:
        return f"{number:,} regions, more than {REGIONS:,}"
    if number and not 0 <= bank.owners.min() <= bank.owners.max() < len(bank.frames):
        return "regions of frames that it does not name"
    if not all(np.isfinite(one).all() for one in (*tables, bank.areas)):
        return "numbers that are not finite"
    return None
