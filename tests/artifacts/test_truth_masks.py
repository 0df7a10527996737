"""Truth masks as labelling tools save them: ids of several depths, colours, palettes in another order, other sizes."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError

NAMES = ("sky", "tree", "lane_line")
COLOURS = np.array([(0, 0, 0), (70, 130, 180), (0, 128, 0), (255, 255, 255)], np.uint8)  # by id; 0 is background
IDS = np.array([[0, 1, 2], [3, 3, 1]], np.uint8)
BY_COLOUR = {"#4682b4": "sky", "#008000": "tree", "#ffffff": "lane_line", "#000000": "background"}


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    (tmp_path / "data" / "truth").mkdir(parents=True)
    return Artifacts(tmp_path)


def read(artifacts: Artifacts, image: Image.Image | np.ndarray, shape: tuple[int, int] = (2, 3)) -> np.ndarray:
    path = artifacts.root / "data/truth/a_000000.png"
    if isinstance(image, Image.Image):
        image.save(path, "PNG")
    else:
        cv2.imwrite(str(path), image)
    return artifacts.read_truth(path, NAMES, shape).ids


def write_map(artifacts: Artifacts, content: object) -> None:
    (artifacts.root / "data/truth/classes.json").write_text(json.dumps(content))


def in_palette(order: list[int]) -> Image.Image:
    """IDS as a palette picture whose colour number i is that of the id ``order[i]``."""
    image = Image.fromarray(np.argsort(order).astype(np.uint8)[IDS])
    image.putpalette(COLOURS[order].tobytes())
    return image


# Ids -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(IDS),
        in_palette([0, 1, 2, 3]),
        Image.fromarray(IDS.astype(np.uint16)),
        Image.fromarray(np.repeat(IDS[..., None], 3, 2)),  # ids in three equal channels
        Image.fromarray(np.dstack([IDS, IDS, IDS, np.full_like(IDS, 255)])),
        np.dstack([IDS, IDS, IDS]),  # as cv2.imwrite does it
    ],
    ids=["grey", "palette", "16 bits", "three channels", "three channels and alpha", "opencv"],
)
def test_ids_are_read_however_they_are_stored(image: Image.Image | np.ndarray, artifacts: Artifacts) -> None:
    np.testing.assert_array_equal(read(artifacts, image), IDS)


def test_one_bit_is_two_ids(artifacts: Artifacts) -> None:
    np.testing.assert_array_equal(read(artifacts, Image.fromarray(IDS == 1)), (IDS == 1).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_map_gives_ids_other_meanings(dtype: type, artifacts: Artifacts) -> None:
    write_map(artifacts, {"0": "sky", "1": "tree", "2": "lane_line", "3": "ignore"})
    np.testing.assert_array_equal(read(artifacts, Image.fromarray(IDS.astype(dtype))), [[1, 2, 3], [255, 255, 2]])


def test_large_ids_are_read_by_a_map_and_refused_without(artifacts: Artifacts) -> None:
    wide = Image.fromarray(np.where(IDS == 3, 7001, IDS.astype(np.uint16)))
    with pytest.raises(
        DataError, match=r"expected ids 0 to 3 or 255, found \[7001\].*classes\.json: \{\"7001\": \"sky\"\}"
    ):
        read(artifacts, wide)
    write_map(artifacts, {"7001": "sky", "0": "ignore", "1": "tree", "2": "background"})
    np.testing.assert_array_equal(read(artifacts, wide), [[255, 2, 0], [1, 1, 2]])


def test_an_id_that_the_map_does_not_name_is_told_and_255_is_never_counted(artifacts: Artifacts) -> None:
    write_map(artifacts, {"0": "sky", "1": "tree"})
    np.testing.assert_array_equal(read(artifacts, Image.fromarray(IDS * 0 + 255)), IDS * 0 + 255)
    with pytest.raises(DataError, match=r"expected the ids that classes\.json names, found 2, 3 in 3 pixels"):
        read(artifacts, Image.fromarray(IDS))


def test_the_map_in_the_folder_of_a_source_wins(artifacts: Artifacts) -> None:
    write_map(artifacts, {"3": "sky", "0": "tree", "1": "tree", "2": "tree"})
    folder = artifacts.root / "data/truth/a"
    folder.mkdir()
    Image.fromarray(IDS).save(folder / "0.png")
    np.testing.assert_array_equal(artifacts.read_truth(folder / "0.png", NAMES, (2, 3)).ids, np.where(IDS == 3, 1, 2))
    (folder / "classes.csv").write_text("id,name\n3,lane_line\n0,ignore\n1,ignore\n2,ignore\n")
    np.testing.assert_array_equal(artifacts.read_truth(folder / "0.png", NAMES, (2, 3)).ids, np.where(IDS == 3, 3, 255))


# Colours -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(COLOURS[IDS]),
        Image.fromarray(np.dstack([COLOURS[IDS], np.full_like(IDS, 255)])),
        in_palette([0, 1, 2, 3]),
        in_palette([2, 3, 0, 1]),  # what counts is the colour, not its number
    ],
    ids=["RGB", "RGBA", "palette", "palette in another order"],
)
def test_colours_are_read_by_their_map(image: Image.Image, artifacts: Artifacts) -> None:
    write_map(artifacts, BY_COLOUR)
    np.testing.assert_array_equal(read(artifacts, image), IDS)


def test_cvats_own_map_is_understood(artifacts: Artifacts) -> None:
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "sky:70,130,180::", "tree:0,128,0::",
             "lane_line:255,255,255::"]  # fmt: skip
    (artifacts.root / "data/truth/labelmap.txt").write_text("\n".join(lines))
    np.testing.assert_array_equal(read(artifacts, Image.fromarray(COLOURS[IDS])), IDS)


def test_grey_and_black_and_white_are_colours_too(artifacts: Artifacts) -> None:
    write_map(artifacts, {"#ffffff": "tree", "#000000": "ignore", "#808080": "sky"})
    np.testing.assert_array_equal(read(artifacts, Image.fromarray(IDS == 1)), np.where(IDS == 1, 2, 255))
    grey = np.array([0, 128, 255, 255], np.uint8)[IDS]
    np.testing.assert_array_equal(read(artifacts, Image.fromarray(grey)), [[255, 1, 2], [2, 2, 1]])


def test_what_is_left_out_by_alpha_is_not_counted_and_soft_edges_are_refused(artifacts: Artifacts) -> None:
    write_map(artifacts, {"#4682b4": "sky", "#008000": "tree", "#ffffff": "lane_line"})
    alpha = np.where(IDS == 0, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(
        read(artifacts, Image.fromarray(np.dstack([COLOURS[IDS], alpha]))), np.where(IDS == 0, 255, IDS)
    )
    alpha[0, 0] = 100
    with pytest.raises(DataError, match="found 1 that are half transparent"):
        read(artifacts, Image.fromarray(np.dstack([COLOURS[IDS], alpha])))


def test_colours_without_a_map_are_counted_and_shown(artifacts: Artifacts) -> None:
    with pytest.raises(DataError) as caught:
        read(artifacts, Image.fromarray(COLOURS[IDS]))
    line = str(caught.value)
    assert "expected class ids, found 4 colours, #4682b4, #ffffff, " in line
    assert str(artifacts.root / "data/truth/classes.json") in line
    assert '{"#4682b4": "sky", "#ffffff": "tree", ' in line
    assert "\n" not in line


def test_a_colour_that_the_map_lacks_is_told(artifacts: Artifacts) -> None:
    write_map(artifacts, {"#4682b4": "sky", "#008000": "tree", "#000000": "ignore"})
    with pytest.raises(DataError, match=r"expected the colours that classes\.json names, found #ffffff in 2 pixels"):
        read(artifacts, Image.fromarray(COLOURS[IDS]))


def test_many_colours_are_few_words(artifacts: Artifacts) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    with pytest.raises(DataError, match=r"found \d{4} colours, (#......, ){8}and \d{4} more"):
        read(artifacts, Image.fromarray(photo), (40, 60))


def test_a_large_mask_is_looked_up_strip_by_strip_to_the_same_ids(artifacts: Artifacts) -> None:
    write_map(artifacts, BY_COLOUR)
    ids = np.random.default_rng(0).integers(0, 4, (1300, 1700), np.uint8)
    np.testing.assert_array_equal(read(artifacts, Image.fromarray(COLOURS[ids]), ids.shape), ids)


# What is refused -----------------------------------------------------------------------------------------------------


def test_a_jpeg_is_refused_whatever_its_name(artifacts: Artifacts) -> None:
    path = artifacts.root / "data/truth/a_000000.png"
    Image.fromarray(IDS).save(path, "JPEG")
    with pytest.raises(DataError, match="found a JPEG, which changes ids and colours at their edges"):
        artifacts.read_truth(path, NAMES, (2, 3))


def test_channels_of_16_bits_would_lose_their_ids(artifacts: Artifacts) -> None:
    with pytest.raises(DataError, match="found 16 bits a channel"):
        read(artifacts, np.dstack([IDS, IDS, IDS]).astype(np.uint16))


# Sizes ---------------------------------------------------------------------------------------------------------------


def nearest(ids: np.ndarray, shape: tuple[int, int], down: float, right: float) -> np.ndarray:
    """The pixel of `ids` in which the centre of each pixel of the result lies; on a border, as the shifts say."""
    rows = (np.arange(shape[0]) + 0.5) * ids.shape[0] / shape[0] + down
    columns = (np.arange(shape[1]) + 0.5) * ids.shape[1] / shape[1] + right
    return ids[np.floor(rows).astype(int)[:, None], np.floor(columns).astype(int)]


@pytest.mark.parametrize(
    ("stored", "frame"),
    [
        ((576, 704), (576, 1024)),  # PAL 16:9 on disc, 16:11
        ((576, 720), (576, 1024)),  # DV 16:9, 64:45
        ((480, 720), (480, 640)),  # NTSC, 8:9
        ((480, 720), (540, 720)),  # the same, made higher instead
        ((1080, 1440), (1080, 1920)),  # HDV, AVCHD, 4:3
        ((576, 704), (360, 640)),  # and shrunk by extract.max_side
        ((3000, 4000), (768, 1024)),
        ((1080, 1920), (288, 512)),
        ((1080, 1920), (281, 500)),  # rounded
        ((120, 160), (480, 640)),  # a whole number of times smaller
    ],
)
def test_a_mask_of_the_videos_own_size_is_brought_to_its_frame_by_the_nearest_pixel(
    stored: tuple[int, int], frame: tuple[int, int], artifacts: Artifacts
) -> None:
    ids = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 255], np.uint8), stored)
    found = read(artifacts, Image.fromarray(ids), frame)
    assert found.shape == frame
    assert np.any([found == nearest(ids, frame, *by) for by in product((0.01, -0.01), repeat=2)], axis=0).all()


@pytest.mark.parametrize(
    ("stored", "frame"),
    [
        ((560, 704), (480, 640)),  # another shape
        ((640, 480), (480, 640)),  # turned
        ((500, 640), (480, 640)),  # cut
        ((300, 400), (480, 640)),  # smaller, and not a whole number of times
        ((1, 1), (480, 640)),
        ((480, 1300), (480, 640)),
    ],
)
def test_a_size_that_cannot_come_of_the_frames_is_refused_with_both(
    stored: tuple[int, int], frame: tuple[int, int], artifacts: Artifacts
) -> None:
    line = f"expected the size of its frame, {frame[1]}x{frame[0]}, or one .* found {stored[1]}x{stored[0]}"
    with pytest.raises(DataError, match=line):
        read(artifacts, Image.fromarray(np.ones(stored, np.uint8)), frame)
