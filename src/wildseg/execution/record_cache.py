"""Records in the result store by all that they depend on, such as the replies of language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wildseg.execution.result_store import Entry, ResultStore, key_of, note


class StoredRecords:
    """Records that outlive a run; what `wildseg.labels.language.messages.RecordCache` asks for."""

    def __init__(self, root: Path, name: str) -> None:
        """Open the records called `name` of the project folder `root`."""
        self._store = ResultStore.of(root, name)
        self._name = name
        self.cached = 0
        self.computed = 0

    def get(self, parts: Sequence[Any]) -> Any:  # noqa: ANN401
        """Return the record that was stored under these parts of a key, or None."""
        entry = self._store.get(key_of(parts))
        self.cached += entry is not None
        return None if entry is None else entry.record

    def put(self, parts: Sequence[Any], record: Mapping[str, Any]) -> None:
        """Store a record."""
        self.computed += 1
        self._store.put(key_of(parts), Entry(record))

    def note(self) -> None:
        """Leave for `wildseg cache` how many records of this run were cached."""
        note(self._store, self._name, self.cached, self.computed)

    def __str__(self) -> str:
        """Say how many replies were cached, in a few words for the line that a stage prints; empty if none was."""
        return f", {self.cached} of {self.cached + self.computed} answers from the cache" if self.cached else ""
