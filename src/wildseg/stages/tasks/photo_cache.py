"""Photos whose bytes are known: what was found in them before is not decoded for again.

So one photo more in a folder costs one photo, wherever in the order it lies. The choice of key frames itself is made
anew each time, since it depends on the photos before; what it asks about known photos is answered from the cache.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from wildseg.core.errors import DataError, check_regular
from wildseg.execution.result_store import Entry, ResultStore, key_of
from wildseg.frames.image import mean_difference
from wildseg.frames.jpeg import strip_metadata
from wildseg.frames.photos import Photo, decode_photo, same_pixels
from wildseg.frames.read_stats import DecodeError
from wildseg.frames.sample import ArrayPixels, Pixels

DIGEST = re.compile("[0-9a-f]{64}")


LARGE = 64_000_000  # pixels; of photos above it no two are held decoded, but decoded again when they are asked for
MORE = 2**20  # bytes that a file may be larger than its pixels and still be read as a whole


class PhotoCache:
    """Opens the photos of a folder, decoding only what must be."""

    def __init__(self, store: ResultStore, base: str, digests: Mapping[Path, str]) -> None:
        """Remember where answers are kept.

        Args:
            store: of the stage extract.
            base: stands for all that the answers depend on beside the photos.
            digests: the SHA-256 of each photo, hex; of one that has another, nothing is kept.
        """
        self._store = store
        self._base = base
        self._digests = digests
        self._opened: set[Path] = set()
        self._remarks: dict[str, list[str]] = {}
        self._large: _Photo | None = None
        self._holding = threading.Lock()

    @property
    def decoded(self) -> int:
        """How many photos were decoded."""
        return len(self._opened)

    def open(self, path: Path) -> Pixels:
        """Return the pixels of a photo, decoded when they are asked for, and now if it is not known to be whole.

        Raises:
            DecodeError: it cannot be read, as `read_photo` says.
        """
        digest = self._digests.get(path, "")
        photo = _Photo(self, path, digest if DIGEST.fullmatch(digest) else None)
        why_not, remark = self._found(photo)
        if why_not is not None:
            raise DecodeError(why_not)
        if remark is not None:
            self._remarks.setdefault(remark, []).append(path.name)
        return photo

    def _found(self, photo: _Photo) -> tuple[str | None, str | None]:
        """Return why a photo cannot be read, and what is to be said of it, from the cache if that is known."""
        if photo.digest is None:
            return None, photo.decode().remark
        key = key_of([self._base, "usable", photo.digest])
        entry = self._store.get(key)
        if entry is not None and isinstance(entry.record, list) and len(entry.record) == 2:
            why_not, remark = entry.record
        else:
            why_not, remark = photo.found()
            self._store.put(key, Entry([why_not, remark]))
        return why_not, remark

    def remarks(self) -> list[tuple[str, str]]:
        """Return (which photos, what is to be said of them) of what was opened so far."""
        return [(_names(names), remark) for remark, names in sorted(self._remarks.items())]

    def picture_key(self, pixels: Pixels, parameters: Mapping[str, Any]) -> str | None:
        """Return the key under which the key frame made of a photo is kept; None for what is no known photo.

        Args:
            pixels: those of the key frame.
            parameters: of how it is written.
        """
        if not isinstance(pixels, _Photo) or pixels.digest is None:
            return None
        return key_of([self._base, "picture", pixels.digest, parameters])

    def own_file(self, pixels: Pixels, max_side: int | None) -> bytes | None:
        """Return the file of a photo without its metadata, where that is a JPEG of exactly its pixels; else None.

        It is not where the photo is turned, shrunk to `max_side`, or its colours are converted.
        """
        return pixels.own_file(max_side) if isinstance(pixels, _Photo) else None

    def difference(self, earlier: _Photo, later: _Photo, width: int | None) -> float:
        """Return `mean_difference` of two photos, which is computed once."""
        if earlier.digest is None or later.digest is None:
            return mean_difference(earlier.grey(width), later.grey(width))
        key = key_of([self._base, "difference", earlier.digest, later.digest, width])
        entry = self._store.get(key)
        if entry is not None and isinstance(entry.record, float):
            return entry.record
        found = mean_difference(earlier.grey(width), later.grey(width))
        self._store.put(key, Entry(found))
        return found

    def opening(self, path: Path) -> None:
        """Count a photo as decoded."""
        self._opened.add(path)

    def hold(self, photo: _Photo) -> None:
        """Have the last large photo forget its pixels, if another is now decoded."""
        with self._holding:  # photos are read ahead in a thread of their own
            if self._large is not None and self._large is not photo:
                self._large.release()
            self._large = photo


class _Photo:
    """Pixels that are decoded when asked for; see `wildseg.frames.sample.Pixels`."""

    def __init__(self, known: PhotoCache, path: Path, digest: str | None) -> None:
        self.digest = digest
        self._known = known
        self._path = path
        self._decoded: np.ndarray | None = None
        self._greys: dict[int | None, np.ndarray] = {}  # a key frame is compared with many

    def found(self) -> tuple[str | None, str | None]:
        """Decode, and return why that cannot be done, and the remark of `decode_photo`.

        Raises:
            DecodeError: the system could not read it, which says nothing about its bytes.
        """
        try:
            return None, self.decode().remark
        except DecodeError as error:
            if error.transient:
                raise
            return str(error), None

    def decode(self) -> Photo:
        """Decode, and hold the pixels; raises DecodeError."""
        self._known.opening(self._path)
        photo = decode_photo(self._path)
        self._decoded = photo.pixels
        if math.prod(photo.pixels.shape[:2]) > LARGE:
            self._known.hold(self)
        return photo

    def release(self) -> None:
        """Hold the pixels no longer."""
        self._decoded = None

    def rgb(self, width: int | None = None) -> np.ndarray:
        return ArrayPixels(self._pixels()).rgb(width)

    def grey(self, width: int | None = None) -> np.ndarray:
        if width not in self._greys:
            self._greys[width] = ArrayPixels(self._pixels()).grey(width)
        return self._greys[width]

    def difference(self, earlier: Pixels, width: int | None = None) -> float:
        if isinstance(earlier, _Photo):
            return self._known.difference(earlier, self, width)
        return mean_difference(earlier.grey(width), self.grey(width))

    def detach(self) -> None:
        """See Pixels; what is decoded here is shared with nobody."""

    def own_file(self, max_side: int | None) -> bytes | None:
        image = self._pixels()
        if max_side is not None and max(image.shape[:2]) > max_side:
            return None
        try:
            check_regular(self._path)
            if self._path.stat().st_size > image.size + MORE:
                return None
            content = strip_metadata(self._path.read_bytes())
        except OSError:
            return None
        return content if content is not None and same_pixels(content, image) else None

    def _pixels(self) -> np.ndarray:
        pixels = self._decoded  # which another thread may forget at any time
        if pixels is not None:
            return pixels
        try:
            return self.decode().pixels
        except DecodeError as error:  # it could be read before
            raise DataError(f"{self._path}: changed while it was read ({error}); run the same again") from error


def _names(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} photos, the first {names[0]}"
