"""Changes of classes by themselves: what becomes of ids, labels, scores and maps, against a plain loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from wildseg.cli.classes import change
from wildseg.cli.classes.change import Change
from wildseg.core.errors import ParamsError

OLD = {"lawn": ["lawn", "grass"], "road": ["road"], "sky": ["sky"], "moss": ["moss"]}
CHANGES: dict[str, tuple[Callable[[], Change], dict[str, str | None]]] = {
    "rename": (lambda: change.rename(OLD, "road", "street"), {"road": "street"}),
    "merge into a class": (lambda: change.merge(OLD, "moss", ["lawn"]), {"lawn": "moss"}),
    "merge into a new one": (lambda: change.merge(OLD, "green", ["moss", "lawn"]), {"lawn": "green", "moss": "green"}),
    "reorder": (lambda: change.reorder(OLD, ["sky", "lawn"]), {}),
    "split": (lambda: change.split(OLD, "road", {"tar": ["tar"], "gravel": ["gravel"]}), {"road": None}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_each_class_becomes_what_it_is_said_to(what: str) -> None:
    build, said = CHANGES[what]
    made = build()
    assert made.names == {name: said.get(name, name) for name in OLD}
    new = ("background", *made.new)
    for value, name in enumerate(("background", *OLD)):
        after = "background" if value == 0 else made.names[name]
        assert made.ids[value] == (255 if after is None else new.index(after))
    assert (made.ids[len(OLD) + 1 :] == 255).all()


def test_where_a_class_stands_and_which_phrases_it_has() -> None:
    assert dict(change.merge(OLD, "green", ["moss", "lawn"]).new) == {
        "green": ["lawn", "grass", "moss"],
        "road": ["road"],
        "sky": ["sky"],
    }
    assert list(change.merge(OLD, "moss", ["lawn"]).new.items())[-1] == ("moss", ["moss", "lawn", "grass"])
    assert list(change.reorder(OLD, ["sky", "lawn"]).new) == ["sky", "lawn", "road", "moss"]
    assert list(change.split(OLD, "road", {"tar": ["tar"], "road": ["road"]}).new) == [
        "lawn",
        "tar",
        "road",
        "sky",
        "moss",
    ]
    assert change.rename(OLD, "road", "street").keeps_ids
    assert not change.reorder(OLD, ["road"]).keeps_ids


@pytest.mark.parametrize("what", ["rename", "merge into a class", "merge into a new one", "reorder"])
def test_scores_labels_and_maps_are_the_largest_of_those_that_become_one(what: str) -> None:
    made = CHANGES[what][0]()
    rng, new = np.random.default_rng(0), list(made.new)
    scores = rng.random((5, len(OLD)))
    present = scores > 0.6
    after, labels = made.largest(scores), made.largest(present)
    for frame in range(5):
        for index, name in enumerate(new):
            own = [place for place, old in enumerate(OLD) if made.names[old] == name]
            assert after[frame, index] == max(scores[frame, place] for place in own)
            assert labels[frame, index] == any(present[frame, place] for place in own)
        classes = np.flatnonzero(present[frame]).astype(np.int16)
        maps = rng.random((len(classes), 2, 3)).astype(np.float32)
        indices, merged = made.maps(classes, maps)
        assert indices.tolist() == np.flatnonzero(labels[frame]).tolist()
        for index, one in zip(indices, merged, strict=True):
            own = [maps[k] for k, old in enumerate(classes) if made.names[list(OLD)[old]] == new[index]]
            assert (one == np.max(own, 0)).all()


def test_merging_masks_is_the_same_as_merging_each_pixel() -> None:
    made = change.merge(OLD, "green", ["moss", "lawn"])
    mask = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, 4, 255], np.uint8), (7, 9))
    by_hand = {0: 0, 1: 1, 2: 2, 3: 3, 4: 1, 255: 255}
    assert made.ids[mask].tolist() == [[by_hand[value] for value in row] for row in mask.tolist()]


@pytest.mark.parametrize(
    ("build", "line"),
    [
        (lambda: change.rename(OLD, "lown", "x"), "classes: there is no class 'lown'; did you mean 'lawn'?"),
        (lambda: change.rename(OLD, "lawn", "sky"), "'wildseg classes merge sky lawn' makes one"),
        (lambda: change.rename(OLD, "lawn", "Sky"), "this class occurs twice (letter case does not"),
        (lambda: change.rename(OLD, "lawn", "ignore"), "classes.ignore: this name is reserved"),
        (lambda: change.rename(OLD, "lawn", "a,b"), "a name may not hold commas"),
        (lambda: change.rename(OLD, "lawn", "lawn"), "'rename lawn lawn' changes nothing"),
        (lambda: change.merge(OLD, "green", ["lawn"]), "expected two classes or more to merge into green, found lawn"),
        (lambda: change.merge(OLD, "lawn", ["lawn"]), "expected two classes or more"),
        (lambda: change.merge(OLD, "lawn", ["mos"]), "there is no class 'mos'; did you mean 'moss'?"),
        (lambda: change.reorder(OLD, ["sky", "sky"]), "classes.sky: expected each class once"),
        (lambda: change.reorder(OLD, ["lawn"]), "'reorder lawn' changes nothing"),
        (lambda: change.split(OLD, "road", {"tar": ["tar"]}), "two classes or more to split it into, found tar"),
        (lambda: change.split(OLD, "road", {"tar": ["tar"], "sky": ["x"]}), "classes.sky: this class exists"),
        (lambda: change.split(OLD, "road", {"tar": ["tar"], "b": ["moss"]}), "the phrase 'moss' already belongs to"),
    ],
)  # fmt: skip
def test_what_means_nothing_is_one_line(build: Callable[[], Change], line: str) -> None:
    with pytest.raises(ParamsError) as caught:
        build()
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
