"""Colours of classes: what their names say, the same in any order, never two that are hardly distinguishable."""

from __future__ import annotations

import colorsys
from itertools import combinations
from random import Random

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wildseg.core import colours
from wildseg.core.classes import BACKGROUND, IGNORE, MAX_CLASSES, Classes
from wildseg.core.colour_words import COLOUR_WORDS, SURFACES, THINGS
from wildseg.core.colours import APART, UNDECIDED, check, hex_colour, named_colour, palette
from wildseg.core.errors import ParamsError
from wildseg.core.id_colours import id_palette

DEMO = ("sky", "tree", "cement_road", "lane_line", "curb", "red_brick_path", "yellow_brick_path", "soil", "lawn",
        "water")  # fmt: skip
CITYSCAPES = ("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
              "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")  # fmt: skip


def by_name(names: tuple[str, ...], own: dict[str, str] | None = None) -> dict[str, str]:
    return {name: hex_colour(rgb) for name, rgb in zip(names, palette(names, own)[1:], strict=False)}


def opencv_lab(rgb: np.ndarray) -> np.ndarray:
    """L*a*b* of (n, 3) uint8 RGB by OpenCV."""
    return cv2.cvtColor(np.float32(rgb[None] / 255), cv2.COLOR_RGB2LAB)[0].astype(float)


def nearest(names: tuple[str, ...], own: dict[str, str] | None = None) -> float:
    """The smallest distance between two of the classes, the background and undecided pixels."""
    found = opencv_lab(palette(names, own)[[*range(len(names) + 1), IGNORE]])
    return min(float(np.linalg.norm(one - other)) for one, other in combinations(found, 2))


def test_lab_is_that_of_opencv() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (500, 3), np.uint8)
    np.testing.assert_allclose(colours.lab(rgb), opencv_lab(rgb), atol=0.3)


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("sky", "sky"), ("clouds", "sky"), ("trees", "tree"), ("Vegetation", "tree"), ("dense_forest", "tree"),
        ("lawn", "grass"), ("mownGrass", "grass"), ("wet grass", "grass"), ("tall_grass", "crop"), ("lake", "water"),
        ("branches", "branch"), ("bushes", "bush"), ("leaves", "leaf"), ("bus", "bus"), ("buses", "bus"),
        ("houses", "house"), ("boxes", "box"), ("grasses", "grass"), ("mosses", "moss"), ("ferries", None),
        ("bodies of water", "water"), ("lorries", "lorry"), ("cliffs", "cliff"), ("debris", "debris"),
        ("men", "man"), ("two women", "woman"), ("children", "child"), ("calves", "calf"), ("benches", "bench"),
        ("bike lane", "bike lane"), ("gravel bike lanes", "gravel"), ("bike", "bike"), ("bus lane", "road"),
        ("red_brick_parking_lots", "brick"),
        ("asphalt_road", "asphalt"), ("road", "road"), ("muddy mud", "mud"),
        ("gravel path", "gravel"), ("tree trunk", "trunk"), ("traffic-sign", "sign"), ("GROUND", "soil"),
        ("red_brick_path", "brick"), ("yellow brick path", "yellow brick"), ("kerb stones", "curb"), ("glass", None),
        ("carpet", None), ("glasses", None), ("brass", None), ("zork", None), ("草地", None), ("7", None),
    ],
)  # fmt: skip
def test_a_name_says_its_colour_by_its_longest_and_last_known_words(name: str, like: str | None) -> None:
    assert named_colour(name) == (None if like is None else {**SURFACES, **THINGS}[like])


def test_each_known_word_says_its_own_colour() -> None:
    for word, colour in {**SURFACES, **COLOUR_WORDS, **THINGS}.items():
        assert named_colour(word) == colour, word


def test_common_classes_have_sensible_hues() -> None:
    found = by_name((*DEMO, "mud"))
    rgb = {name: [value / 255 for value in bytes.fromhex(text[1:])] for name, text in found.items()}
    hues = {name: colorsys.rgb_to_hsv(*values) for name, values in rgb.items()}
    for name, low, high in (("sky", 190, 230), ("water", 190, 230), ("tree", 100, 160), ("lawn", 80, 130),
                            ("soil", 15, 40), ("mud", 15, 40), ("yellow_brick_path", 35, 60)):  # fmt: skip
        assert low < 360 * hues[name][0] < high
    assert hues["tree"][2] < hues["lawn"][2] - 0.3  # dark green, light green
    assert hues["water"][2] < hues["sky"][2]
    assert hues["cement_road"][1] < 0.1  # grey


def test_words_have_colours_that_can_be_told_apart() -> None:
    known = sorted({*THINGS.values(), *SURFACES.values()} | {"#000000", hex_colour(UNDECIDED)})
    found = opencv_lab(np.array([list(bytes.fromhex(text[1:])) for text in known], np.uint8))
    assert min(np.linalg.norm(one - other) for one, other in combinations(found, 2)) > APART - 1
    assert all(colours.HEX.match(text) for text in known)


@pytest.mark.parametrize("names", [DEMO, CITYSCAPES, tuple(f"class_{number}" for number in range(30))])
def test_no_two_of_a_few_dozen_classes_are_alike(names: tuple[str, ...]) -> None:
    assert nearest(names) > APART - 1


def test_even_as_many_classes_as_fit_have_colours_of_their_own() -> None:
    names = tuple(f"grass {number}" for number in range(MAX_CLASSES))
    assert nearest(names) > 5


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from([*THINGS, *SURFACES, *"abcdefgh", "red", "blue path"]), min_size=1, unique=True),
    st.randoms(),
)
def test_the_order_of_classes_changes_no_colour(names: list[str], random: Random) -> None:
    shuffled = [*names]
    random.shuffle(shuffled)
    assert by_name(tuple(names)) == by_name(tuple(shuffled))


def test_another_class_leaves_the_colours_of_others() -> None:
    for more in ("zork", "gravel", "deer"):
        assert by_name(DEMO).items() <= by_name((more, *DEMO)).items()


def test_of_two_classes_that_say_the_same_the_second_has_the_nearest_free_colour() -> None:
    found = by_name(("meadow", "lawn", "tree"))
    assert found["lawn"] == THINGS["grass"]
    lawn, meadow, tree = opencv_lab(palette(("lawn", "meadow", "tree"))[1:4])
    assert APART < np.linalg.norm(meadow - lawn) < 40
    assert np.linalg.norm(meadow - lawn) < np.linalg.norm(meadow - tree)


def test_the_names_of_a_person_come_first_and_others_keep_their_distance() -> None:
    own = {"soil": THINGS["grass"], "tree": "#F0F"}
    found = by_name(DEMO, own)
    assert (found["soil"], found["tree"]) == (THINGS["grass"], "#ff00ff")
    assert found["lawn"] != THINGS["grass"]
    assert found["sky"] == THINGS["sky"]
    assert nearest(DEMO, own) > APART - 1
    assert by_name(DEMO, {"zork": "#ff0000"}) == by_name(DEMO)  # of another model


def test_colours_of_ids_and_of_what_is_no_class() -> None:
    found = palette(DEMO)
    assert (found.shape, found.dtype) == ((256, 3), np.uint8)
    np.testing.assert_array_equal(found[[BACKGROUND, IGNORE]], [(0, 0, 0), UNDECIDED])
    np.testing.assert_array_equal(found, Classes({name: name for name in DEMO}).palette())
    np.testing.assert_array_equal(Classes({"a": "a"}).palette({"a": "#a10203"})[1], (161, 2, 3))
    with pytest.raises(ValueError, match="read-only"):
        found[1] = 0


def test_the_palette_of_label_images_gives_each_id_its_own_colour_whatever_classes_are_called() -> None:
    found = id_palette()
    assert (found.shape, found.dtype) == ((256, 3), np.uint8)
    assert len(np.unique(found, axis=0)) == 256
    np.testing.assert_array_equal(found[[BACKGROUND, IGNORE]], [(0, 0, 0), UNDECIDED])
    hues = np.array([colorsys.rgb_to_hsv(*(colour / 255.0))[0] for colour in found[1:41]])
    turn = np.abs(np.diff(hues))
    assert np.minimum(turn, 1 - turn).min() > 0.3


@pytest.mark.parametrize(
    ("own", "line"),
    [
        ({"lwan": "#123456"}, "colours.lwan: there is no such class; did you mean 'lawn'?"),
        ({"lawn": "green"}, "colours.lawn: expected a colour such as \"#33aa77\" or \"#3a7\", found 'green'"),
        ({"lawn": "#12345"}, "colours.lawn: expected a colour such as \"#33aa77\" or \"#3a7\", found '#12345'"),
        ({"lawn": "#3a7\n"}, "colours.lawn: expected a colour such as \"#33aa77\" or \"#3a7\", found '#3a7\\n'"),
        ({"sky": "#000"}, "colours.sky: expected a colour other than that of the background, #000000, found #000; "
                          "choose a lighter one"),
        ({"sky": "#fff"}, "colours.sky: expected a colour other than that of undecided pixels, #f5f5f0, found #fff; "
                          "choose a darker one"),
        ({"lawn": "#3a7", "tree": "#33aa7a"},
         "colours: expected colours that can be told apart, found #3a7 of lawn and #33aa7a of tree, 1.7 apart in Lab; "
         "choose two at least 10 apart"),
    ],
)  # fmt: skip
def test_colours_that_mean_nothing_are_refused_in_a_line(own: dict[str, str], line: str) -> None:
    with pytest.raises(ParamsError) as error:
        check(own, DEMO)
    assert str(error.value) == line
