"""Files of weights: tensors by name, from safetensors or from a torch file that holds plain tensors."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from wildseg.core.errors import DataError, check_regular, words_of

SAFETENSORS = ".safetensors"
TORCH = (".pth", ".pt", ".bin", ".ckpt", ".tar")
# Where code bases put a network's state in what they save, beside an optimiser's and numbers.
INSIDE = ("state_dict", "model", "model_state_dict", "net")


def read_weights(path: Path, key: str, inside: Sequence[str] = INSIDE) -> dict[str, torch.Tensor]:
    """Read the tensors of a network by name, on the CPU; no code in the file is run.

    Args:
        path: a .safetensors file, or a torch file of a state dict, or of a dict that holds one.
        key: the parameter that names the file, for error lines.
        inside: entries of that dict, of which the first that there is is taken.

    Raises:
        DataError: it is missing, of another kind, broken, or holds no tensors.
    """
    if path.suffix not in (SAFETENSORS, *TORCH):
        raise DataError(f"{key}: expected a .safetensors or .pth file of weights, found {str(path)!r}")
    try:
        check_regular(path)
        content = load_file(path) if path.suffix == SAFETENSORS else _load_torch(path)
    except Exception as error:  # every format has errors of its own
        raise DataError(f"{key}: {path}: expected weights as safetensors or plain torch tensors ({_line(error)})"
                        ) from error  # fmt: skip
    return _tensors(content, path, key, inside)


def _load_torch(path: Path) -> Any:  # noqa: ANN401
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(part.file_size > max(part.compress_size, 2**16) for part in archive.infolist()):
                raise ValueError("an archive whose parts are larger than the file; torch compresses nothing")
    return torch.load(path, map_location="cpu", weights_only=True)


def _tensors(content: Any, path: Path, key: str, inside: Sequence[str]) -> dict[str, torch.Tensor]:  # noqa: ANN401
    held = next((content[name] for name in inside if isinstance(content, Mapping) and name in content), content)
    tensors = {name: value for name, value in held.items() if isinstance(value, torch.Tensor)} if _is_dict(held) else {}
    if not tensors:
        raise DataError(f"{key}: {path}: expected tensors by name, found {type(held).__name__} without any")
    return tensors


def _is_dict(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _line(error: Exception) -> str:
    # torch explains at length how to trust a file, which nobody should.
    if "weights_only" in str(error) or "Weights only" in str(error):
        return "it holds other things than tensors, which could run code"
    return words_of(str(error)) or type(error).__name__
