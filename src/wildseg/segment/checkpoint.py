"""Checkpoints of a training run: one safetensors file under a key made of everything the result depends on.

They lie outside the stage's outputs: DVC empties those before it runs a stage again, which a checkpoint must survive.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from wildseg.errors import DataError
from wildseg.segment.loop import Trainer

KEPT = 3  # runs that were stopped and may still be continued; older ones are removed
VALUES = "values"  # metadata entry of the file: what is not a tensor, as JSON


class Checkpoints:
    """The checkpoint of one run, ``<folder>/<key>/state.safetensors``."""

    def __init__(self, folder: Path, key: str) -> None:
        """Remember where; remove what older runs than the latest few left behind."""
        self.folder = folder
        self.path = folder / key / "state.safetensors"
        others = [path for path in folder.glob("*/") if path.name != key]
        for path in sorted(others, key=_changed)[: -(KEPT - 1)]:
            shutil.rmtree(path, ignore_errors=True)

    def save(self, trainer: Trainer) -> None:
        """Write the trainer's state under a temporary name and rename it."""
        tensors, values = trainer.state()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(save(tensors, metadata={VALUES: json.dumps(values)}))
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def restore(self, trainer: Trainer) -> bool:
        """Bring the trainer to the saved state; False where there is none that can be read.

        Raises:
            DataError: it can be read, but is none of this training.
        """
        try:
            tensors, values = _read(self.path)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError):
            return False
        try:
            trainer.restore(tensors, values)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            # By now some of it may have been taken over, so that beginning anew is for another run.
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{self.path}: expected a checkpoint of this training ({reason}); remove it to begin anew"
            ) from error
        return True

    def remove(self) -> None:
        """Remove the checkpoint: the run is finished."""
        shutil.rmtree(self.path.parent, ignore_errors=True)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process of the same training was faster
        return 0.0


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[VALUES])  # noqa: SIM118


def key_of(files: Iterable[tuple[str, bytes]], values: object) -> str:
    """Return a key of 16 hexadecimal digits of files by name and content, of `values`, and of the code that trains.

    `values` is anything whose `repr` tells it apart: frozen dataclasses, numbers, texts, tuples of them.
    """
    digest = hashlib.sha256(f"{torch.__version__} {values!r}".encode())
    code = ((path.name, path.read_bytes()) for path in sorted(Path(__file__).parent.rglob("*.py")))
    for name, content in chain(code, files):  # one after the other: they may be a hundred thousand pictures
        digest.update(name.encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()[:16]
