"""Files of weights: which tensors are read of them, and what of a file that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.broken_files import torch_checkpoint
from wildseg.core.errors import DataError
from wildseg.encoders.cnn.weight_file import read_weights

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.zeros(2)}
OTHER = {"a.weight": torch.ones(1)}


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize("content", [STATE, {"state_dict": STATE, "epoch": 7}, {"model": STATE | {"note": "x"}}])
def test_a_state_dict_is_read_wherever_it_lies(content: dict[str, object], tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    assert same(read_weights(tmp_path / "w.pth", "key"), STATE)


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    assert same(read_weights(tmp_path / "w.safetensors", "key"), STATE)


def test_the_first_entry_that_there_is_is_taken(tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "local_dict": OTHER}, tmp_path / "w.pth")
    assert same(read_weights(tmp_path / "w.pth", "key", ("local_dict", "state_dict")), OTHER)
    assert same(read_weights(tmp_path / "w.pth", "key", ("none", "state_dict")), STATE)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(torch_checkpoint(tmp_path / "marker"))
    with pytest.raises(DataError, match="^cam.x: .*w.pth: expected weights as safetensors or plain torch tensors") as e:
        read_weights(tmp_path / "w.pth", "cam.x")
    assert "\n" not in str(e.value)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("w.params", b"x", r"^key: expected a .safetensors or .pth file of weights, found '.*w.params'$"),
        ("w.safetensors", b"x", r"^key: .*w.safetensors: expected weights as safetensors or plain torch tensors \("),
        ("w.pth", b"", r"^key: .*w.pth: expected weights as safetensors or plain torch tensors \("),
    ],
)
def test_a_file_of_another_kind_is_one_line(name: str, content: bytes, line: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=line) as error:
        read_weights(tmp_path / name, "key")
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^key: .*none.pth: expected weights .*No such file"):
        read_weights(tmp_path / "none.pth", "key")


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(2)], torch.zeros(2), {1: torch.zeros(2)}])
def test_a_file_without_named_tensors_is_one_line(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(DataError, match="^key: .*w.pth: expected tensors by name, found "):
        read_weights(tmp_path / "w.pth", "key")
