"""The digest of a model in a folder, over every byte of its files.

Fine-tuned models have files of the same names and sizes, and may differ in a few layers in the middle of one. Reading
gigabytes takes as long as loading them, so that the digest of a large file is cached by its path, size, inode and
modification time, as DVC does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from wildseg.core.files import sha256_of
from wildseg.labels.language.messages import RecordCache

PARTS = (".json", ".safetensors", ".jinja", ".model", ".txt")  # txt: the merges of a tokenizer
LARGE = 2**22  # bytes from which a digest is cached


def digest(folder: Path, known: RecordCache | None = None) -> str:
    """Return the SHA-256 of the names and contents of a model's files, hex.

    Args:
        folder: the model, as transformers saves it.
        known: caches the digests of large files.
    """
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in PARTS and path.is_file()):
        whole.update(f"{path.name} {_digest(path, known)}\n".encode())
    return whole.hexdigest()


def _digest(path: Path, known: RecordCache | None) -> str:
    status = path.stat()
    parts = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
    cache = known if status.st_size >= LARGE else None
    if cache is not None:
        cached = cache.get(parts)
        if isinstance(cached, dict) and isinstance(cached.get("sha256"), str):
            return cached["sha256"]
    found = sha256_of(path)
    if cache is not None:
        cache.put(parts, {"sha256": found})
    return found
