"""The leaderboard: its floors, its labels and heads against brute force, and rows that are measured once."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import leaderboard, linear_maps, photographs, street, terrain, tile_labels
from benchmarks.leaderboard import Found, Row
from benchmarks.linear_maps import Head, LinearMaps
from PIL import Image

from wildseg.artifacts.project import Frame
from wildseg.cam.networks.bags import positive_weights
from wildseg.methods.refine import propagate


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine photographs whose masks are made of blocks of two or three classes, and a stripe that does not count."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator, colours = np.random.default_rng(0), np.array(list(terrain.COLOURS), np.uint8)
    for number in range(9):
        ids = generator.integers(1, 4, (2, 3)).repeat(16, 0).repeat(16, 1)  # ids of sky, rough_trail and smooth_trail
        ids[:3] = 0  # white: ignore
        Image.fromarray(colours[ids]).save(folder / f"{number + 7}.png")
        Image.fromarray(generator.integers(0, 256, (32, 48, 3), np.uint8)).save(folder / f"{number + 7}.jpg")
    return folder


def test_the_floors_of_photographs_are_those_of_the_training_truth(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_TRACKING", "off")
    before = sorted(photos.iterdir())
    (tmp_path / "work").mkdir()
    protocol = photographs.Protocol(terrain.prepare(photos), tmp_path / "work", None)
    assert [frame.index for frame in protocol.frames("test")] == [1, 4, 7]  # every third of nine blocks

    colours = list(terrain.COLOURS)
    truths = []
    for number in range(9):
        mask = np.array(Image.open(photos / f"{number + 7}.png"))
        truths.append(np.array([[colours.index(tuple(pixel)) for pixel in row] for row in mask.tolist()]))
    train, test = [truths[i] for i in (0, 2, 3, 5, 6, 8)], [truths[i] for i in (1, 4, 7)]
    votes = np.stack([sum((truth == id_).astype(int) for truth in train) for id_ in range(1, 4)])
    common = votes.argmax(0) + 1
    ious = []
    for id_ in range(1, 4):
        both = sum(((truth == id_) & (common == id_)).sum() for truth in test)
        either = sum(((truth > 0) & ((truth == id_) | (common == id_))).sum() for truth in test)
        ious += [both / either] if either else []
    floor, among_labels = (protocol.count("test", answer).text() for answer in protocol.constant())
    assert floor == f"{np.mean(ious):.3f}"  # three frames have no interval
    assert float(among_labels) >= float(floor) - 0.001
    labels = protocol.artifacts.load_labels(protocol.settings.classes.names)
    for frame, truth in zip(protocol.artifacts.load_frames(), truths, strict=True):
        assert np.flatnonzero(labels[frame.name]).tolist() == [id_ - 1 for id_ in np.unique(truth) if id_]
    assert sorted(photos.iterdir()) == before


def test_labels_of_tiles_are_what_covers_at_least_a_fiftieth_of_them() -> None:
    truth = np.full((20, 30), 1, np.uint8)
    truth[0, 0] = 2  # 1 of 100 pixels of its tile
    truth[10:, 10:20] = 3
    truth[19, 29] = 255
    labels = tile_labels.labels_of_tiles(truth, (2, 3), 3)
    assert labels[0].astype(int).tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    truth[0, 1] = 2
    labels = tile_labels.labels_of_tiles(truth, (2, 3), 3)
    assert labels[0].astype(int).tolist() == [[1, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert labels[1].astype(int).tolist() == [[1, 0, 0], [0, 0, 1], [1, 0, 0]]


def test_a_linear_head_on_tiles_finds_where_classes_are_and_on_frames_does_not() -> None:
    # Two classes in every frame: one above and one below, with features of their own and some noise.
    generator = torch.Generator().manual_seed(0)
    features = 0.1 * torch.randn(6, 4, 8, 8, generator=generator)
    features[:, 0, :4] += 1
    features[:, 1, 4:] += 1
    found = {}
    for grid in ((1, 1), (2, 2)):
        labels = np.ones((6, *grid, 2), bool)
        if grid == (2, 2):
            labels[:, 0, :, 1] = labels[:, 1, :, 0] = False
        means = torch.cat([tile_labels.tile_means(own, grid) for own in features])
        expected = torch.stack([own[:, i : i + 8 // grid[0], j : j + 8 // grid[1]].mean((1, 2)) for own in features
                                for i in range(0, 8, 8 // grid[0]) for j in range(0, 8, 8 // grid[1])])  # fmt: skip
        torch.testing.assert_close(means, expected)
        weight, bias = tile_labels.fit(means, labels)
        ids = (torch.einsum("kd,ndhw->nkhw", weight, features) + bias[:, None, None]).argmax(1)
        found[grid] = float((ids == (torch.arange(8) >= 4)[:, None]).float().mean())
    assert found[2, 2] == 1
    assert found[1, 1] < 0.9


def test_an_interval_is_that_of_stretches_drawn_again() -> None:
    right, wrong = np.array([[4, 0, 0], [0, 4, 0]]), np.array([[0, 4, 0], [4, 0, 0]])
    alternating = photographs.Counted(np.array([right, wrong] * 50), stretch=2)
    assert alternating.text() == "0.333 (0.333 to 0.333)"  # each stretch has one of both: no draw differs
    value, low, _, high = photographs.Counted(np.array([right, wrong] * 50), stretch=1).text().split()
    assert (value, 0.22 < float(low[1:]) < 0.31, 0.35 < float(high[:-1]) < 0.46) == ("0.333", True, True)


def test_the_longest_sequence_is_trained_on() -> None:
    frames = [Frame(str(i), source, i, None, "train") for i, source in enumerate("abbab")]
    assert street._is_test(frames).tolist() == [True, False, False, True, False]


# Wrong ticks ------------------------------------------------------------------------------------------------------


def test_a_share_of_all_ticks_is_wrong_the_same_each_time_and_more_where_more_are() -> None:
    labels = np.random.default_rng(1).random((200, 3, 4, 8)) < 0.3
    few, many = (tile_labels.with_errors(labels, wrong) != labels for wrong in (0.05, 0.2))
    assert few.mean() == pytest.approx(0.05, abs=0.005)  # of 19,200 ticks: three deviations
    assert many.mean() == pytest.approx(0.2, abs=0.009)
    assert (few <= many).all()
    for present in (True, False):  # ticks are added as often as they are taken away
        assert many[labels == present].mean() == pytest.approx(0.2, abs=0.02)
    np.testing.assert_array_equal(tile_labels.with_errors(labels, 0.2), labels ^ many)
    assert (tile_labels.with_errors(labels, 0.2, seed=5) != labels ^ many).any()
    np.testing.assert_array_equal(tile_labels.with_errors(labels, 0.0), labels)


# Linear heads -----------------------------------------------------------------------------------------------------


def test_a_class_in_nearly_all_frames_has_no_bias_that_wins_everywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = np.ones((100, 1, 1, 2), bool)
    labels[0, ..., 0] = False  # 99 of 100 frames
    labels[::2, ..., 1] = False  # every other one
    vectors = 0.01 * torch.randn(100, 4, generator=generator)
    _, bias = tile_labels.fit(vectors, labels)
    assert positive_weights(labels).tolist() == pytest.approx([1 / 99, 1])
    assert bias.abs().max() < 0.1  # with weights of at least 0.2 the first is log(0.2 * 99) = 3


def test_shares_of_cells_and_the_loss_of_pixels_are_those_of_loops_over_pixels() -> None:
    truth = np.random.default_rng(0).integers(1, 4, (8, 12)).astype(np.uint8)
    truth[:2, :5] = 255
    shares = tile_labels.shares_of_cells(truth, (2, 3), 3)
    logits = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(0))
    terms = []
    for i, j in np.ndindex(8, 12):
        own = shares[i // 4, j // 4]
        if truth[i, j] != 255:
            terms.append(-float(logits[i // 4, j // 4].log_softmax(0)[truth[i, j] - 1]))
        inside = truth[i // 4 * 4 : i // 4 * 4 + 4, j // 4 * 4 : j // 4 * 4 + 4]
        np.testing.assert_allclose(own, [(inside == k).mean() for k in (1, 2, 3)], atol=1e-6)
    found = tile_labels.pixel_loss(logits.flatten(0, 1), torch.from_numpy(shares).flatten(0, 1))
    assert float(found) == pytest.approx(np.mean(terms), rel=1e-5)


def test_a_head_on_pixels_reaches_the_lowest_cross_entropy_of_cells_that_look_alike() -> None:
    # Two kinds of cells. The best answer for each is the share of classes among its pixels.
    vectors = 5 * torch.eye(2).repeat(6, 1)
    shares = np.tile(np.array([[0.75, 0.25, 0.0], [0.1, 0.2, 0.7]], np.float32), (6, 1))
    weight, bias = tile_labels.fit_pixels(vectors, shares)
    np.testing.assert_allclose((vectors @ weight.T + bias).softmax(1), shares, atol=0.03)


class TwoFrames:
    """A frame of two halves, to train on, and its mirror image, to test on."""

    def __init__(self) -> None:
        self.artifacts = self
        self._truth = np.repeat([[1, 1, 2, 2]], 4, 0).astype(np.uint8).repeat(4, 0).repeat(4, 1)  # 16 x 16

    def frames(self, split: str) -> list[Frame]:
        return [Frame(split, "photos", 0, None, split)]

    def truth(self, frame: Frame) -> np.ndarray:
        return self._truth if frame.name == "train" else self._truth[:, ::-1]

    def load_image(self, name: str) -> np.ndarray:
        halves = np.array([0, 250, 90], np.uint8)[self._truth if name == "train" else self._truth[:, ::-1]]
        return np.repeat(halves[..., None], 3, 2)


@pytest.fixture
def halves() -> LinearMaps:
    """Features of two cells a side that differ between the halves."""
    left = np.zeros((2, 4, 4), np.float32)
    left[0, :, :2], left[1, :, 2:] = 1, 1
    return LinearMaps(TwoFrames(), 2, {"train": left, "test": left[:, :, ::-1].copy()})


@pytest.mark.parametrize("refined", [(), ("tiles",), ("lposs",), ("propagate",), linear_maps.REFINEMENTS])
def test_maps_of_tiles_find_the_halves_of_another_frame(halves: LinearMaps, refined: tuple[str, ...]) -> None:
    head = halves.head((1, 2))
    frame = halves.data.frames("test")[0]
    classes, maps = halves.maps(head, frame, refined)
    assert classes.tolist() == [0, 1]
    assert maps.min() >= 0
    assert maps.max() <= 1 + 1e-6
    side = maps.shape[2] // 2
    assert (maps.argmax(0)[:, :side] == 1).all()
    assert (maps.argmax(0)[:, side:] == 0).all()
    assert halves.head((1, 2)) is head
    assert len(halves.seconds) == 1


def test_tiles_cut_maps_to_where_a_class_is_ticked(halves: LinearMaps) -> None:
    head = halves.head((1, 2))
    frame = halves.data.frames("test")[0]
    crossed = {"test": np.array([[[True, False], [False, True]]])}  # each half ticks the class of the other
    wrong = Head(head.weight, head.bias, crossed, head.decide, 0.0)
    before, (classes, maps) = halves.maps(wrong, frame, ())[1], halves.maps(wrong, frame, ("tiles",))
    assert classes.tolist() == [0, 1]
    np.testing.assert_allclose(before[:, 0], [[0, 0, 1, 1], [1, 1, 0, 0]], atol=1e-6)
    expected = [[0, 0, 0.5, 0], [0, 0.5, 0, 0]]  # a quarter of a tile away, and three quarters
    np.testing.assert_allclose(maps, np.repeat(np.array(expected)[:, None], 4, 1), atol=1e-6)
    nothing = {"test": np.zeros((1, 2, 2), bool)}
    classes, maps = halves.maps(Head(head.weight, head.bias, nothing, head.decide, 0.0), frame, ("tiles",))
    assert classes.tolist() == [0, 1]  # a frame without a label may show any class
    assert maps.max() == pytest.approx(1)


def test_lposs_and_propagate_spread_maps_over_features_and_over_pixels(halves: LinearMaps) -> None:
    head = halves.head((1, 2))
    frame = halves.data.frames("test")[0]
    features = np.random.default_rng(0).standard_normal((2, 4, 4)).astype(np.float32)
    noisy = replace(halves, features={"test": features})
    plain, alike, smooth = (noisy.maps(head, frame, by)[1] for by in ((), ("lposs",), ("propagate",)))
    unit = (features / np.linalg.norm(features, axis=0)).reshape(2, 16).astype(np.float64)
    weights = np.zeros((16, 16))
    for one, other in combinations(range(16), 2):  # twice a weight, as of both directions; cells are of 16 pixels
        apart = 16 * np.hypot(one // 4 - other // 4, one % 4 - other % 4)
        near = 2 * max(unit[:, one] @ unit[:, other], 0) ** 6 * np.exp(-0.03 * apart)
        weights[one, other] = weights[other, one] = near
    scale = np.sqrt(weights.sum(0))
    spread = np.linalg.solve(np.eye(16) - 0.8 * weights / np.outer(scale, scale), plain.reshape(2, 16).T).T
    low, high = (edge(spread, axis=1, keepdims=True) for edge in (np.min, np.max))
    np.testing.assert_allclose(alike.reshape(2, 16), (spread - low) / (high - low), atol=2e-3)
    assert abs(alike - plain).max() > 0.05

    image = halves.data.artifacts.load_image("test")
    found = propagate.refine(plain.astype(np.float32), image)
    found = found * (plain.max((1, 2)) / found.max((1, 2)))[:, None, None]
    np.testing.assert_allclose(smooth, found, atol=1e-5)
    across = (smooth.std(2).mean(), smooth[:, :, : smooth.shape[2] // 2].std(2).mean())
    assert across[1] < 0.5 * across[0]  # smooth within a half of the image, not across its edge


# Rows -------------------------------------------------------------------------------------------------------------


def test_every_row_has_a_name_of_its_own_and_the_grid_of_its_labels() -> None:
    table = leaderboard.rows(clip=True)
    assert len({row.name for row in table}) == len(table)
    assert {row.grid for row in table} == {(1, 1), (2, 2), (2, 3), (3, 4)}
    assert {row.wrong for row in table} == {0.0, 0.05, 0.2}
    assert Row("3x4 tiles", "linear head", ("tiles",), 0.05).name == "3x4 tiles, 5% wrong: linear head + tiles"
    assert set(leaderboard.rows()) < set(table)


def test_what_a_row_found_is_measured_once_until_its_settings_change(tmp_path: Path) -> None:
    measured: list[str] = []

    def measure(row: Row) -> Found:
        measured.append(row.name)
        return Found(test=f"0.{len(measured)}")

    row, other = Row("frames", "ccam", model=True), Row("frames", "l2g")
    found = [leaderboard.cached(tmp_path, one, settings, measure) for one, settings in
             [(row, "a"), (row, "a"), (other, "a"), (row, "b"), (row, "b")]]  # fmt: skip
    assert [one.test for one in found] == ["0.1", "0.1", "0.2", "0.3", "0.3"]
    assert measured == [row.name, other.name, row.name]
    assert len(list(tmp_path.iterdir())) == 2
    assert json.loads((tmp_path / "frames_ccam.json").read_text())["found"]["test"] == "0.3"


def test_a_line_has_a_cell_for_each_column() -> None:
    line = leaderboard.line(Row("2x3 tiles", "linear head", ("tiles", "lposs"), 0.2), Found(train="0.5", cost="1.2"))
    assert line == "| 2x3 tiles, 20% of ticks wrong | linear head | tiles, lposs | 0.5 |  |  |  |  | 1.2 |"
    assert {text.count("|") for text in (line, *leaderboard.HEADER.splitlines())} == {10}


def test_a_table_is_measured_row_by_row_and_cached_for_these_photographs_alone(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_TRACKING", "off")
    encoder = {"encoder": "tu-test_resnet", "encoder_weights": None}
    tiny = {"train.encoder": encoder["encoder"], "train.encoder_weights": None, "train.steps": 1, "train.crop": 32}
    monkeypatch.setattr(leaderboard, "ENCODER", encoder)
    monkeypatch.setattr(photographs, "PARAMS", {**photographs.PARAMS, **tiny})
    (tmp_path / "work").mkdir()
    chosen = [row for row in leaderboard.rows() if row.labels == "none"]
    chosen += [Row("1x2 tiles", leaderboard.LINEAR, (), model=model) for model in (False, True)]
    first, again = ([*leaderboard.table(terrain.prepare(photos), tmp_path / "work", None, 1, chosen)] for _ in range(2))
    assert first == again
    assert first[0] == "terrain: 6 training and 3 test frames, 8 classes\n"
    constant, linear, model = (text.split("|") for text in first[2:])
    filled = [[bool(cell.strip()) for cell in line[1:-1]] for line in (constant, linear, model)]
    assert filled[0] == [True, True, False, False, False, False, True, False, False]
    assert filled[1] == [True, True, False, True, False, True, True, False, True]
    assert filled[2] == [True, True, False, True, False, False, False, True, False]
    assert model[4] == linear[4]
    assert all(0 < float(line[column].split()[0]) < 1 for line, column in ((constant, 7), (linear, 6), (model, 8)))
    assert float(linear[9]) > 1
    assert len(list((tmp_path / "work" / "rows").iterdir())) == 3

    # Another data set of the same file names, in the same folder.
    for photo in photos.glob("*.jpg"):
        Image.fromarray(255 - np.asarray(Image.open(photo))).save(photo)
    measured = []
    measure = leaderboard.Leaderboard.measure
    monkeypatch.setattr(
        leaderboard.Leaderboard, "measure", lambda self, row: measured.append(row) or measure(self, row)
    )
    list(leaderboard.table(terrain.prepare(photos), tmp_path / "work", None, 1, chosen[:2]))
    assert measured == chosen[:2]
    assert len(list((tmp_path / "work" / "features").iterdir())) == 18
