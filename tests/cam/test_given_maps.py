"""Maps of another model, from files: what is read, and one line for each way in which files can be wrong."""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.broken_files import npy_of_objects
from wildseg.cam.given_maps import GivenMaps
from wildseg.core.errors import DataError

NAMES = ("sky", "lawn", "curb")
SHAPE = (48, 64)
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "sam3_maps.py"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "maps").mkdir()
    return tmp_path / "maps"


def given(folder: Path) -> GivenMaps:
    return GivenMaps(folder, NAMES, "cam.options.given.path")


def one(shape: tuple[int, ...] = (3, 4), value: float = 0.5) -> np.ndarray:
    return np.full(shape, value, np.float32)


def test_maps_are_those_of_the_archive_in_the_order_of_the_classes(folder: Path) -> None:
    sky, curb = np.linspace(0, 1, 12).reshape(3, 4), np.linspace(1, 0.25, 12, dtype=np.float16).reshape(3, 4)
    np.savez(folder / "a.npz", curb=curb, sky=sky, lawn=one())
    maps = given(folder).maps("a", [0, 2], SHAPE)
    assert maps.dtype == np.float32
    np.testing.assert_array_equal(maps, np.stack([sky, curb]).astype(np.float32))
    np.testing.assert_array_equal(given(folder).maps("a", [2, 0], SHAPE), maps[::-1])
    assert given(folder).maps("a", [], SHAPE).shape[0] == 0


def test_pictures_of_8_and_16_bits_and_whole_numbers_have_their_largest_value_at_one(folder: Path) -> None:
    (folder / "a").mkdir()
    Image.fromarray(np.array([[0, 51], [102, 255]], np.uint8)).save(folder / "a" / "sky.png")
    Image.fromarray(np.array([[0, 13107], [26214, 65535]], np.uint16)).save(folder / "a" / "lawn.png")
    expected = np.array([[0, 0.2], [0.4, 1]], np.float32)
    np.testing.assert_allclose(given(folder).maps("a", [0, 1], SHAPE), [expected, expected], atol=1e-6)
    whole = {"sky": np.array([[0, 51], [102, 255]], np.uint8), "lawn": np.array([[False, True], [True, False]])}
    np.savez(folder / "b.npz", **whole, curb=np.array([[0, 13107], [26214, 65535]], ">u2"))
    maps = given(folder).maps("b", [0, 1, 2], SHAPE)
    np.testing.assert_allclose(maps, [expected, [[0, 1], [1, 0]], expected], atol=1e-6)


def test_what_rounding_leaves_beyond_zero_and_one_is_cut_off(folder: Path) -> None:
    np.savez(folder / "a.npz", sky=np.array([[-5e-6, 1 + 5e-6]]))
    np.testing.assert_array_equal(given(folder).maps("a", [0], SHAPE), [[[0, 1]]])


def test_a_digest_follows_the_files_of_a_frame_alone(folder: Path) -> None:
    np.savez(folder / "a.npz", sky=one())
    (folder / "b").mkdir()
    for name, level in (("sky", 3), ("lawn", 4)):
        Image.fromarray(np.full((3, 4), level, np.uint8)).save(folder / "b" / f"{name}.png")
    before = [given(folder).digest(frame) for frame in "ab"]
    Image.fromarray(np.full((3, 4), 5, np.uint8)).save(folder / "b" / "sky.png")
    after = [given(folder).digest(frame) for frame in "ab"]
    assert after[0] == before[0]
    assert after[1] != before[1]


def wrong(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / "a.npz", **arrays)


def objects(folder: Path) -> None:
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        for name in ("sky", "lawn"):
            archive.writestr(f"{name}.npy", npy_of_objects(folder / "ran"))


def picture(folder: Path, name: str, image: Image.Image) -> None:
    (folder / "a").mkdir()
    image.save(folder / "a" / name)


@pytest.mark.parametrize(
    ("write", "line"),
    [
        (wrong(sky=one(), gras=one()), r"maps/a\.npz: expected maps of classes of params\.yaml, found one of 'gras'"),
        (wrong(sky=one(), lwan=one()), r"found one of 'lwan'; did you mean 'lawn'\?"),
        (wrong(sky=one()), r"expected a map of each class that is labelled in the frame, 'lawn' has none; write zeros"),
        (wrong(sky=one(), lawn=one(value=1.5)), r"a\.npz, lawn: expected values in \[0, 1\], found 1\.5 to 1\.5$"),
        (wrong(sky=one(), lawn=one(value=-0.1)), r"expected values in \[0, 1\], found -0\.1 to -0\.1$"),
        (wrong(sky=one(), lawn=one(value=np.nan)), r"expected values in \[0, 1\], found nan to nan$"),
        (wrong(sky=one(), lawn=one(value=np.inf)), r"found inf to inf$"),
        (
            wrong(sky=one(), lawn=one((1, 3, 4))),
            r"lawn: expected a map \(height, width\), .* shape 1x3x4",
        ),
        (wrong(sky=one(()), lawn=one(())), r"sky: expected a map \(height, width\), found an array of shape \(\)"),
        (wrong(sky=one((0, 4)), lawn=one((0, 4))), r"found an array of shape 0x4"),
        (wrong(sky=one(), lawn=one((6, 8))), r"lawn: expected maps of one size in a frame, found 6x8 beside 3x4"),
        (
            wrong(sky=one((4, 3)), lawn=one((4, 3))),
            r"a frame of 48x64, found 4x3: height and width seem to be",
        ),
        (
            wrong(sky=one(), lawn=np.ones((3, 4), int)),
            r"floats in \[0, 1\], bool, uint8 or uint16, found int64",
        ),
        (wrong(sky=one(), lawn=np.full((3, 4), "x")), r"a\.npz: expected the arrays .* only numbers are read"),
        (lambda folder: objects(folder), r"a\.npz: expected the arrays sky, lawn .* holds object, and only numbers"),
        (lambda folder: (folder / "a.npz").write_bytes(b"no archive"), r"a\.npz: expected an \.npz file of arrays \("),
        (lambda folder: (folder / "a").mkdir(), r"maps/a: expected a map of each class .* 'sky' has none"),
        (lambda f: picture(f, "sky.png", Image.new("L", (4, 3))), r"maps/a: .* 'lawn' has none"),
        (lambda f: picture(f, "bad.png", Image.new("L", (4, 3))), r"maps/a: .* found one of 'bad'"),
    ],
)
def test_files_that_are_no_maps_are_one_line(write: Callable[[Path], None], line: str, folder: Path) -> None:
    write(folder)
    with pytest.raises(DataError, match=line) as caught:
        given(folder).maps("a", [0, 1], SHAPE)
    assert "\n" not in str(caught.value)
    assert not (folder / "ran").exists()


def test_a_picture_in_colour_is_refused(folder: Path) -> None:
    picture(folder, "sky.png", Image.new("RGB", (4, 3)))
    with pytest.raises(DataError, match=r"sky\.png: expected a grey PNG of 8 or 16 bits, found mode RGB"):
        given(folder).maps("a", [0], SHAPE)


def test_a_name_that_is_a_path_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"without a folder; found '\.\./a'"):
        given(folder).maps("../a", [0], SHAPE)


def test_frames_that_show_a_class_need_maps_and_others_do_not(folder: Path) -> None:
    np.savez(folder / "a.npz", sky=one())
    (folder / "README.md").write_text("no maps")
    assert given(folder).check({"a": [0], "b": []}) == ""
    line = (
        r"^cam\.options\.given\.path: expected maps of each of 3 frames that show a class, 2 have none; write .*/b\.npz"
    )
    with pytest.raises(DataError, match=line):
        given(folder).check({"a": [0], "b": [1], "c": [2]})
    with pytest.raises(DataError, match=r"^cam\.options\.given\.path: expected a folder of maps, found none at "):
        given(folder / "none").check({"a": [0]})


def test_files_of_no_key_frame_are_counted(folder: Path) -> None:
    for name in "abc":
        np.savez(folder / f"{name}.npz", sky=one())
    assert given(folder).check({"b": [0]}) == "2 more that have maps are no key frames, such as 'a'"


# The example for SAM 3 -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sam3_maps", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_rule_by_which_answers_of_sam_3_become_a_map(example: ModuleType) -> None:
    first = example.fused(0.9, np.array([[0.5, 0.1]]), np.array([0.8, 0.3]), np.array([[[0.9, 0.2]], [[0.1, 0.95]]]))
    np.testing.assert_allclose(first, [[0.648, 0.144]])
    second = example.fused(0.2, np.array([[0.6, 0.7]]), np.array([0.9]), np.array([[[0.8, 0.8]]]))
    np.testing.assert_allclose(second, [[0.12, 0.14]])


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) <= 55
