"""Photos whose bytes are known: what was found in them before is not decoded for again.

So one photo more in a folder costs one photo, wherever in the order it lies. The choice of key frames itself is made
anew each time, since it depends on the photos before; what it asks about known photos is answered from the cache.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wildseg.entries import Entry, Store, key_of
from wildseg.errors import DataError
from wildseg.frames.image import mean_difference
from wildseg.frames.photos import read_photo
from wildseg.frames.sample import ArrayPixels, Pixels
from wildseg.frames.tally import Unusable

DIGEST = re.compile("[0-9a-f]{64}")


class KnownPhotos:
    """Opens the photos of a folder, decoding only what must be; `decoded` counts those."""

    def __init__(self, store: Store, base: str, digests: Mapping[Path, str]) -> None:
        """Remember where answers are kept.

        Args:
            store: of the stage extract.
            base: stands for all that the answers depend on beside the photos.
            digests: the SHA-256 of each photo, hex; of one that has another, nothing is kept.
        """
        self.decoded = 0
        self._store = store
        self._base = base
        self._digests = digests

    def open(self, path: Path) -> Pixels:
        """Return the pixels of a photo, decoded when they are asked for, and now if it is not known to be whole.

        Raises:
            Unusable: it cannot be read, as `read_photo` says.
        """
        digest = self._digests.get(path, "")
        if not DIGEST.fullmatch(digest):
            self.decoded += 1
            return ArrayPixels(read_photo(path))
        photo = _Photo(self, path, digest)
        key = key_of([self._base, "usable", digest])
        entry = self._store.get(key)
        if entry is None:
            entry = Entry(photo.why_not())
            self._store.put(key, entry)
        if entry.record is not None:
            raise Unusable(str(entry.record))
        return photo

    def picture_key(self, pixels: Pixels, max_side: int | None) -> str | None:
        """Return the key under which the key frame made of a photo is kept; None for what is no known photo."""
        return key_of([self._base, "picture", pixels.digest, max_side]) if isinstance(pixels, _Photo) else None

    def difference(self, earlier: _Photo, later: _Photo, width: int | None) -> float:
        """Return `mean_difference` of two photos, which is computed once."""
        key = key_of([self._base, "difference", earlier.digest, later.digest, width])
        entry = self._store.get(key)
        if entry is not None and isinstance(entry.record, float):
            return entry.record
        found = mean_difference(earlier.grey(width), later.grey(width))
        self._store.put(key, Entry(found))
        return found


class _Photo:
    """Pixels that are decoded when asked for; see `wildseg.frames.sample.Pixels`."""

    def __init__(self, known: KnownPhotos, path: Path, digest: str) -> None:
        self.digest = digest
        self._known = known
        self._path = path
        self._decoded: ArrayPixels | None = None

    def why_not(self) -> str | None:
        """Decode, and return why that cannot be done.

        Raises:
            Unusable: the system could not read it, which says nothing about its bytes.
        """
        try:
            self._decode()
        except Unusable as error:
            if error.passing:
                raise
            return str(error)
        return None

    def rgb(self, width: int | None = None) -> np.ndarray:
        return self._pixels().rgb(width)

    def grey(self, width: int | None = None) -> np.ndarray:
        return self._pixels().grey(width)

    def difference(self, earlier: Pixels, width: int | None = None) -> float:
        if isinstance(earlier, _Photo):
            return self._known.difference(earlier, self, width)
        return mean_difference(earlier.grey(width), self.grey(width))

    def own(self) -> None:
        """See Pixels; what is decoded here is shared with nobody."""

    def _pixels(self) -> ArrayPixels:
        try:
            return self._decoded or self._decode()
        except Unusable as error:  # it could be read before
            raise DataError(f"{self._path}: changed while it was read ({error}); run the same again") from error

    def _decode(self) -> ArrayPixels:
        self._known.decoded += 1
        self._decoded = ArrayPixels(read_photo(self._path))
        return self._decoded
