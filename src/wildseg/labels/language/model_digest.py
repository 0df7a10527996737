"""What tells the model in a folder from others, without loading it: every byte of it, read once.

Fine-tuned models have files of the same names and sizes, and may differ in a few layers in the middle of one. Reading
gigabytes takes as long as loading them, so that the digest of a large file is remembered by where it lies, its size,
its inode and the time when it was written, as DVC does.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from wildseg.labels.language.messages import RecordCache

PARTS = (".json", ".safetensors", ".jinja", ".model", ".txt")  # txt: the merges of a tokenizer
LARGE = 2**22  # bytes from which a digest is worth remembering


def digest(folder: Path, known: RecordCache | None = None) -> str:
    """Return the SHA-256 of the names and contents of a model's files, hex.

    Args:
        folder: the model, as transformers saves it.
        known: remembers the digests of large files.
    """
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.suffix in PARTS and path.is_file()):
        whole.update(f"{path.name} {_digest(path, known)}\n".encode())
    return whole.hexdigest()


def _digest(path: Path, known: RecordCache | None) -> str:
    status = path.stat()
    parts = [str(path.resolve()), status.st_size, status.st_mtime_ns, status.st_ino]
    remembering = known if status.st_size >= LARGE else None
    if remembering is not None:
        kept = remembering.get(parts)
        if isinstance(kept, dict) and isinstance(kept.get("sha256"), str):
            return kept["sha256"]
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if remembering is not None:
        remembering.put(parts, {"sha256": found})
    return found
