"""What all tests share."""

from __future__ import annotations

import pytest

from wildseg import entries


@pytest.fixture(autouse=True)
def nothing_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test shall see what is computed now; tests of the cache switch it on."""
    monkeypatch.setenv(entries.VARIABLE, "off")
