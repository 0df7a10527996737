"""Files that would run a program if they were read carelessly, in every place where a file is read."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save as tensors_as_bytes

from tests.broken_files import npy_of_objects, npz_of_objects, postscript, torch_checkpoint, trap, yaml_of_objects
from tests.house import parsed
from tests.readers import HARMLESS, KEY, READERS, REFUSED, _checkpoint, _clip_config
from tests.test_safety import called
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import ModelError
from wildseg.execution import fingerprint
from wildseg.execution.result_store import MAGIC, ResultStore
from wildseg.frames.photos import read_photo
from wildseg.frames.read_stats import DecodeError
from wildseg.tracking import provenance

DEMO = fingerprint.SOURCE / "wildseg_demo"
# What reads or opens a file, by the end of its full name.
READ = (".read_text", ".read_bytes", ".open", ".load_file", ".safe_open", ".numpy.load", ".json.load", ".json.loads",
        ".yaml.load", ".yaml.safe_load", ".ruamel.yaml.YAML", ".torch.load", ".load_checkpoint",
        ".factory.load_state_dict",
        ".zipfile.ZipFile", ".sqlite3.connect", ".csv.DictReader", ".csv.reader", ".sha256_of")  # fmt: skip


def reads() -> Iterator[str]:
    """Every function of the package that reads a file: ``files.load_json``, ``result_store.ResultStore.get``."""

    def inside(node: ast.AST, where: str, path: Path) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and f".{called(path, child)}".endswith(READ):
                yield where
            named = isinstance(child, (ast.FunctionDef, ast.ClassDef))
            yield from inside(child, f"{where}.{child.name}" if named else where, path)

    for package, start in ((fingerprint.PACKAGE, fingerprint.PACKAGE), (DEMO, fingerprint.SOURCE)):
        for path in package.rglob("*.py"):
            yield from inside(parsed(path), ".".join(path.relative_to(start).with_suffix("").parts), path)


def test_every_place_that_reads_a_file_is_listed() -> None:
    # `create` hands a name to other libraries, which read a file if it is one: ours must refuse it before.
    listed = {function for reader in READERS.values() for function in reader.code} - {"encoders.cnn.build.create"}
    assert set(reads()) == listed | set(HARMLESS)


# Traps ---------------------------------------------------------------------------------------------------------------


def npz(marker: Path) -> bytes:
    path = marker.with_name("trap.npz")
    npz_of_objects(path, marker)
    return path.read_bytes()


def tensors(marker: Path) -> bytes:
    """A safetensors file whose header is a pickle."""
    return len(trap(marker)).to_bytes(8, "little") + trap(marker)


def entry(marker: Path) -> bytes:
    """A file of the cache with a right checksum, whose header is a pickle."""
    body = tensors(marker)
    return MAGIC + hashlib.sha256(body).digest() + body


def wrong_entry(_: Path) -> bytes:
    """The same with a header that is JSON, but not ours."""
    body = (2).to_bytes(8, "little") + b"[]"
    return MAGIC + hashlib.sha256(body).digest() + body


TRAPS: dict[str, Callable[[Path], bytes]] = {
    "pickle": trap,
    "gzip": lambda marker: gzip.compress(trap(marker)),
    "npy": npy_of_objects,
    "npz": npz,
    "torch": torch_checkpoint,
    "safetensors": tensors,
    "yaml": yaml_of_objects,
    "postscript": postscript,
    "entry": entry,
    "wrong entry": wrong_entry,
    "deep": lambda _: b"[" * 20_000,
}


@pytest.mark.parametrize("what", READERS)
def test_no_file_runs_anything_and_each_is_refused_in_one_line(what: str, tmp_path: Path) -> None:
    reader = READERS[what]
    for name, content in TRAPS.items():
        marker = tmp_path / "marker"
        artifacts = Artifacts(tmp_path / name)
        path = artifacts.root / reader.file
        path.parent.mkdir(parents=True)
        path.write_bytes(content(marker))
        if reader.answer is REFUSED:
            with pytest.raises(reader.errors) as caught:
                reader.read(artifacts, path)
            assert "\n" not in str(caught.value).strip(), name
        else:
            assert reader.read(artifacts, path) == reader.answer, name
        assert not marker.exists(), name


# Written so that the tests of tests/test_safety.py do not find them.
CARELESS: dict[str, Callable[[Path], object]] = {
    "npy": lambda path: np.load(path, **{"allow_" + "pickle": True}),
    "npz": lambda path: np.load(path, **{"allow_" + "pickle": True})["maps"],
    "torch": lambda path: getattr(torch, "lo" + "ad")(path, **{"weights_" + "only": False}),
    "pickle": lambda path: getattr(torch, "lo" + "ad")(path, **{"weights_" + "only": False}),
    "yaml": lambda path: getattr(yaml, "unsafe_" + "load")(path.read_text()),
}


@pytest.mark.parametrize("name", CARELESS)
def test_the_traps_would_work(name: str, tmp_path: Path) -> None:
    # So that the test above does not refuse duds.
    path = tmp_path / "trap"
    path.write_bytes(TRAPS[name](tmp_path / "marker"))
    try:
        CARELESS[name](path)
    except Exception:
        assert (tmp_path / "marker").exists()
    assert (tmp_path / "marker").exists()


# One by one ----------------------------------------------------------------------------------------------------------


def test_a_picture_that_is_a_program_is_no_photo(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(postscript(tmp_path / "marker"))
    with pytest.raises(DecodeError, match="not a picture in a known format"):
        read_photo(tmp_path / "a.jpg")


def test_a_clip_config_cannot_ask_for_code_beside_its_tokenizer(tmp_path: Path) -> None:
    text = {"context_length": 8, "vocab_size": 600, "width": 16, "heads": 2, "layers": 1}
    asked = {"hf_tokenizer_name": str(tmp_path), "tokenizer_kwargs": {"trust_remote_code": True}}
    vision = {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16}
    config = {"embed_dim": 8, "vision_cfg": vision, "text_cfg": {**text, **asked}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')\n")
    (tmp_path / "c.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="tokenizer_kwargs .*found 'trust_remote_code'"):
        _clip_config(tmp_path / "c.json")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("values", ["null", "7", "{}", '{"step": 1}'])
def test_a_checkpoint_of_something_else_is_none(values: str, tmp_path: Path) -> None:
    path = tmp_path / "key" / "state.safetensors"
    path.parent.mkdir()
    path.write_bytes(tensors_as_bytes({"network/weight": torch.zeros(1)}, metadata={"values": values}))
    assert not _checkpoint(tmp_path)


@pytest.mark.parametrize("metadata", [None, {"a": "b"}, {"values": "{"}, {"values": "[" * 20_000}])
def test_safetensors_without_the_values_of_a_checkpoint_are_none(
    metadata: dict[str, str] | None, tmp_path: Path
) -> None:
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "state.safetensors").write_bytes(tensors_as_bytes({"a": torch.zeros(1)}, metadata=metadata))
    assert not _checkpoint(tmp_path)


def test_an_entry_of_the_cache_that_is_none_of_ours_is_removed(tmp_path: Path) -> None:
    path = tmp_path / KEY[:2] / KEY[2:]
    path.parent.mkdir()
    path.write_bytes(wrong_entry(tmp_path))
    store = ResultStore(tmp_path)
    assert store.get(KEY) is None
    assert store.damaged == 1
    assert not path.exists()


@pytest.mark.parametrize("text", ["; touch marker", "$(touch marker)", "`touch marker`", "--upload-pack=touch marker"])
def test_git_is_given_words_and_not_a_line_for_a_shell(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / text
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", text)
    assert provenance.git_tags(folder)["git.commit"] == text
    assert [path.name for path in tmp_path.rglob("marker")] == []
