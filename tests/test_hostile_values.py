"""Files that are well formed and ask for too much: names that lead out of the data folder, pictures of gigabytes."""

from __future__ import annotations

import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save as tensors_as_bytes

from tests.broken_files import jpeg_header, npy_that_claims, png_header
from tests.encoders.configs import clip_params
from tests.encoders.models import save as save_clip
from tests.stages import tiny_run
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.core import arrays, images, lookup
from wildseg.core.errors import DataError, ModelError, ParamsError, WildsegError
from wildseg.core.tables import save_table
from wildseg.encoders import clip
from wildseg.encoders.weights import identity
from wildseg.execution.runtime import Runtime
from wildseg.frames import read_stats
from wildseg.frames.photos import read_photo
from wildseg.frames.read_stats import DecodeError
from wildseg.frames.video import read_video
from wildseg.segment.predict import describe
from wildseg.stages import crf, label
from wildseg.stages.cam import stage as cam
from wildseg.stages.eval import stage as eval_stage
from wildseg.tracking import model
from wildseg_demo.world.video import open_video

NAMES = ["../../outside", "/etc/passwd", "a/b", "a\\b", "..", ".", "", "a\0b", "a\nb", "a\rb", "a\x7fb"]
CLASSES = ["lawn"]


@contextmanager
def little_memory(limit: int = 50_000_000) -> Iterator[None]:
    """Fail if Python and numpy take more than `limit` bytes."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


# Names ---------------------------------------------------------------------------------------------------------------

TABLES: dict[str, tuple[str, Callable[[Artifacts], object], Callable[[str], tuple[list[str], list[str]]]]] = {
    "frames": ("data/frames/frames.csv", lambda a: a.load_frames(),
               lambda n: (["frame", "source", "index", "time_s", "split"], [n, "a", "0", "", "train"])),
    "sources": ("data/frames/frames.csv", lambda a: a.load_frames(),
                lambda n: (["frame", "source", "index", "time_s", "split"], ["a_000000", n, "0", "", "train"])),
    "labels": ("data/labels/labels.csv", lambda a: a.load_labels(CLASSES), lambda n: (["Frame", "Labels"], [n, ""])),
    "overrides": ("data/labels/overrides.csv", lambda a: a.load_labels(CLASSES, a.overrides_csv),
                  lambda n: (["Frame", "Labels"], [n, "lawn"])),
    "given tiles": ("given.csv", lambda a: a.load_given_tiles(CLASSES, a.root / "given.csv", (1, 1)),
                    lambda n: (["Frame", "Row", "Column", "Labels"], [n, "1", "1", "lawn"])),
    "ticks": ("data/labels/ticks.csv", lambda a: a.load_ticks(CLASSES, (1, 1)),
              lambda n: (["Frame", "Row", "Column", "Labels"], [n, "1", "1", "lawn"])),
    "given": ("given.csv", lambda a: a.load_labels(CLASSES, a.root / "given.csv"),
              lambda n: (["Frame", "Labels"], [n, "lawn"])),
    "scores": ("data/labels/scores.csv", lambda a: a.load_scores(CLASSES), lambda n: (["frame", "lawn"], [n, "0.5"])),
    "priors": ("data/labels/priors.csv", lambda a: a.load_priors(CLASSES), lambda n: (["frame", "lawn"], [n, "0.5"])),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", TABLES)
def test_a_name_that_is_a_path_is_refused_by_every_table(what: str, name: str, tmp_path: Path) -> None:
    file, load, row_of = TABLES[what]
    header, row = row_of(name)
    save_table(tmp_path / file, header, [row], quote_all=True)
    with pytest.raises(DataError, match=rf"{Path(file).name}: expected plain file names in the column") as caught:
        load(Artifacts(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["drive_000007", "Fahrt 3 süd_000001", "草地_000001", "-a", "a.b", "..."])
def test_plain_names_of_any_language_are_read(name: str, tmp_path: Path) -> None:
    for file, load, row_of in (TABLES[what] for what in TABLES):
        save_table(tmp_path / file, *(lambda header, row: (header, [row]))(*row_of(name)))
        assert load(Artifacts(tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_no_path_is_made_of_such_a_name(name: str, tmp_path: Path) -> None:
    a = Artifacts(tmp_path)
    for path_of in (a.frame_path, a.maps_path, a.mask_path, a.confidence_path):
        with pytest.raises(DataError, match="expected the name of a frame"):
            path_of(name)
    for frame in (Frame(name, "a", 0, None, "test"), Frame("a", name, 0, None, "test")):
        with pytest.raises(DataError, match="expected the name of a frame"):
            a.truth_path(frame)


@pytest.mark.parametrize("stage", [label, cam, crf, eval_stage])
def test_no_stage_touches_a_file_outside_its_folders(stage: Any, tmp_path: Path) -> None:  # noqa: ANN401
    artifacts = tiny_run.make(tmp_path / "project")
    table = artifacts.frames_folder / "frames.csv"
    table.write_text(table.read_text().replace("drive_000010", "../../../outside"))
    for folder, suffix in (("", "jpg"), ("", "png"), ("", "npz")):
        (tmp_path / folder / f"outside.{suffix}").write_bytes(b"precious")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=r"frames\.csv: expected plain file names .*'\.\./\.\./\.\./outside'"):
        stage.run(tiny_run.params(), artifacts, Runtime(1, "cpu"))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_overrides_are_read_before_anything_is_computed_or_removed(tmp_path: Path) -> None:
    artifacts = tiny_run.make(tmp_path)
    artifacts.overrides_csv.write_text("Frame,Labels\n../drive_000000,lawn\n")
    before = artifacts.labels_csv.read_bytes()
    with pytest.raises(DataError, match=r"overrides\.csv: expected plain file names"):
        label.run(tiny_run.params(), artifacts, Runtime(1, "cpu"))
    assert artifacts.labels_csv.read_bytes() == before


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "unet.py", "os.path", "methods.unet", "__init__", "", "\0"])
def test_a_method_is_a_name_and_not_a_path(name: str, tmp_path: Path) -> None:
    for folder in ("methods.architectures", "methods.cam", "methods.labels", "methods.keyframes"):
        with pytest.raises(ParamsError, match="expected one of"):
            lookup.load(folder, name)
    (tmp_path / "config.json").write_text(json.dumps({"architecture": name}))
    with pytest.raises(ParamsError, match="expected one of"):
        model._load_pyfunc(str(tmp_path))


@pytest.mark.parametrize("name", ["../x", "hf-hub:a/b", "local-dir:/x", "a\0b", ""])
def test_a_clip_model_is_a_name_and_not_a_path(name: str, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "models" / "w.safetensors").write_bytes(tensors_as_bytes({"a": torch.zeros(1)}))
    assert ".json" not in identity(clip_params(name, "models/w.safetensors"), tmp_path)
    with pytest.raises(ModelError, match="clip.model: expected a model of open_clip"):
        clip.load(name, "models/w.safetensors", root=tmp_path)


CONFIG: dict[str, Any] = describe("unet", "resnet18", tiny_run.OPTIONS, CLASSES, [0, 1])
STRANGE = [
    ("architecture", "../x"), ("architecture", None), ("architecture", ["unet"]), ("encoder", "../x"), ("encoder", 3),
    ("encoder", "tu-hf-hub:a/b"), ("options", None), ("options", {"encoder_weights": "x"}), ("options", {"x": 1}),
    ("options", {"encoder_depth": -1}), ("classes", 7), ("classes", None), ("ids", "ab"), ("ids", None),
    ("mean", ["a"]),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value"), STRANGE)
def test_a_config_of_a_model_that_means_nothing_is_one_line(key: str, value: object, tmp_path: Path) -> None:
    weights = tensors_as_bytes({name: t.contiguous() for name, t in tiny_run.network().state_dict().items()})
    (tmp_path / "model.safetensors").write_bytes(weights)
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "classes": ["a", "b", "c"], key: value}))
    with pytest.raises(WildsegError) as caught:
        model._load_pyfunc(str(tmp_path))
    assert "\n" not in str(caught.value)


# Sizes ---------------------------------------------------------------------------------------------------------------

SIZES = [(60_000, 60_000), (13_000, 12_000)]  # the second passes Pillow's own limit


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", [0, 3])
def test_ids_that_claim_gigabytes_are_refused_by_their_header(mode: int, size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(*size, mode))
    with little_memory(), pytest.raises(DataError, match=r"a\.png: expected an image of class ids .*pixels"):
        images.load_label_image(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", SIZES)
def test_a_key_frame_that_claims_gigabytes_is_refused_by_its_header(size: tuple[int, int], tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg_header(*size))
    with little_memory(), pytest.raises(DataError, match=r"a\.jpg: expected an image .*pixels"):
        images.load_image(path)


@pytest.mark.parametrize(
    "content", [png_header(60_000, 60_000, 2), png_header(13_000, 12_000), jpeg_header(60_000, 60_000)]
)
def test_a_photo_that_claims_gigabytes_is_refused_by_its_header(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with little_memory(), pytest.raises(DecodeError, match="pixels"):
        read_photo(tmp_path / "a.png")


def test_the_headers_of_these_tests_are_those_of_pictures(tmp_path: Path) -> None:
    for name, content in (("a.png", png_header(20, 30, 3)), ("a.jpg", jpeg_header(20, 30))):
        (tmp_path / name).write_bytes(content)
        with Image.open(tmp_path / name) as image:
            assert image.size == (20, 30)


def test_what_extract_takes_every_stage_can_read() -> None:
    assert images.MAX_PIXELS == read_stats.MAX_PIXELS


def test_a_list_of_videos_under_a_videos_name_is_no_video(tmp_path: Path) -> None:
    with open_video(tmp_path / "other.mp4", (64, 64), 10) as write:
        write(np.zeros((64, 64, 3), np.uint8))
    (tmp_path / "a.mp4").write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(DecodeError, match="a list of other files"):
        next(read_video(tmp_path / "a.mp4", "a", read_stats.ReadStats()))


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stream:
        for name, content in members.items():
            stream.writestr(f"{name}.npy", content)
    return path


def test_maps_whose_archive_claims_gigabytes_are_refused_by_their_header(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", classes=npy_that_claims((1,)), maps=npy_that_claims((1,)))
    content = bytearray(path.read_bytes())
    size = 3_000_000_000
    for entry in (content.rindex(b"PK\x01\x02") + 24, content.rindex(b"PK\x03\x04") + 22):
        content[entry : entry + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    with little_memory(), pytest.raises(DataError, match=r"a\.npz: .*maps\.npy claims 3,000,000,000 bytes"):
        arrays.load_arrays(path, "maps")


@pytest.mark.parametrize("shape", [(1, 100_000, 100_000), (2**40,), (-1,), (51,), (49,)])
def test_maps_whose_array_claims_another_size_are_refused_by_its_header(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", maps=npy_that_claims(shape))  # holds 50 numbers
    with little_memory(), pytest.raises(DataError, match=r"a\.npz: expected the arrays maps .*not what it holds"):
        arrays.load_arrays(path, "maps")


def npy(descr: object, shape: tuple[int, ...], content: bytes = b"") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


@pytest.mark.parametrize(
    ("descr", "shape"),
    [
        ("|V0", (10**9, 10**9)),
        ("|V0", (1000, 1000)),
        ("|V8", (1,)),
        ("|S0", (10**9,)),
        ("<U0", (10**9, 10**6)),
        ("|S4", (2,)),
        ([("a", "<f4"), ("b", "<i2")], (3,)),
        ([], (10**6,)),
        ("|O", (1,)),
        ("<M8[s]", (1,)),
        ("<c8", (1,)),
        ("<f2", (0, 10**18)),
        ("<f2", (10**18, 0)),
        ("<f2", (-1, -50)),
        ("<f2", (0, -1)),
    ],
    ids=str,
)
def test_what_is_no_array_of_numbers_is_refused_by_its_header(
    descr: object, shape: tuple[int, ...], tmp_path: Path
) -> None:
    width = np.dtype(descr).itemsize  # type: ignore[call-overload]
    count = max(0, int(np.prod(shape, dtype=object))) if 0 < int(np.prod(shape, dtype=object)) < 1000 else 0
    path = archive(tmp_path / "a.npz", maps=npy(descr, shape, bytes(width * count)))
    with little_memory(), pytest.raises(DataError, match=r"a\.npz: expected the arrays maps \(maps\.npy ") as caught:
        arrays.load_arrays(path, "maps")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int64, np.float16, np.float64])
def test_numbers_of_every_kind_that_is_written_are_read(kind: type, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", maps=np.ones((0, 3, 4), kind), more=np.ones((2, 3), kind))
    empty, full = arrays.load_arrays(tmp_path / "a.npz", "maps", "more")
    assert empty.shape == (0, 3, 4)
    assert full.dtype == kind
    assert full.all()


def test_an_archive_of_zeros_that_grows_is_stopped_at_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrays, "MAX_ARRAY", 100_000)
    path = tmp_path / "a.npz"
    np.savez_compressed(path, maps=np.zeros((10, 1000, 1000), np.float16))
    assert path.stat().st_size < 100_000
    with little_memory(1_000_000), pytest.raises(DataError, match="claims 20,000,128 bytes, more than 100,000"):
        arrays.load_arrays(path, "maps")


def test_a_torch_file_that_is_larger_inside_is_refused(tmp_path: Path) -> None:
    name, _ = save_clip(tmp_path, "tiny")
    torch.save({"a": torch.zeros(5_000_000)}, tmp_path / "plain.pt")
    with (
        zipfile.ZipFile(tmp_path / "plain.pt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for part in plain.namelist():
            bomb.writestr(part, plain.read(part))
    with pytest.raises(ModelError, match="larger than the file"):
        clip.load(name, str(tmp_path / "bomb.pt"))
