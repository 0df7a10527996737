"""The label methods: CLIP's scores against its own logits, and tables written by others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.encoders.models import noise, random_clip
from wildseg.core.errors import DataError, ParamsError
from wildseg.encoders.clip import Clip, resize
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.views import cells_in_box, crop_view, tile_boxes
from wildseg.methods.labels import clip as clip_method
from wildseg.methods.labels import given

PHRASES = (("sky", "clouds"), ("road",), ("lawn",))
TEMPLATES = ("a photo of {}.", "{}")


def request(encoder: Callable[[], Clip], **changes: object) -> LabelRequest:
    asked = LabelRequest(("sky", "road", "lawn"), PHRASES, (), TEMPLATES, encoder, lambda _path: {})
    return replace(asked, **changes)


def frames(*shapes: tuple[int, int]) -> list[NamedImage]:
    return [NamedImage(f"f{i}", lambda i=i, shape=shape: noise(shape, i)) for i, shape in enumerate(shapes)]


@pytest.fixture(scope="module")
def softmax(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("softmax"), "vit")


@pytest.fixture(scope="module")
def sigmoid(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("sigmoid"), "tiny")


def logits(clip: Clip, image: np.ndarray, phrases: tuple = PHRASES) -> torch.Tensor:
    features = clip.network.encode_image(clip.pixels([resize(image, clip.size)]), normalize=True)
    return clip.logits(features, clip.classifier(phrases, TEMPLATES))[0]


def answers(asked: LabelRequest, *shapes: tuple[int, int], **options: object) -> list[LabelResult]:
    return list(clip_method.label(frames(*shapes), asked, **options))


def test_a_single_look_gives_the_softmax_over_classes(softmax: Clip) -> None:
    (answer,) = answers(request(lambda: softmax), (64, 64), tiles=1)
    np.testing.assert_allclose(answer.scores, logits(softmax, noise((64, 64))).softmax(0), atol=1e-5)
    assert answer.scores.sum() == pytest.approx(1)
    assert answer.threshold == 0.2


def test_background_phrases_take_their_share_and_have_no_score(softmax: Clip) -> None:
    (answer,) = answers(request(lambda: softmax, background=("wall", "sea")), (64, 64), tiles=1)
    expected = logits(softmax, noise((64, 64)), (*PHRASES, ("wall",), ("sea",))).softmax(0)[:3]
    np.testing.assert_allclose(answer.scores, expected, atol=1e-5)
    assert answer.scores.sum() < 1


def test_repeating_a_class_halves_its_share(softmax: Clip) -> None:
    (once,) = answers(request(lambda: softmax), (64, 64), tiles=1)
    twice = request(lambda: softmax, class_names=("sky", "road", "lawn", "again"), phrases=(*PHRASES, ("lawn",)))
    (answer,) = answers(twice, (64, 64), tiles=1)
    odds = once.scores[2] / once.scores[0]
    assert answer.scores[2] / answer.scores[0] == pytest.approx(odds, rel=1e-4)
    assert answer.scores[3] == pytest.approx(answer.scores[2], rel=1e-4)


def test_a_model_with_a_logit_bias_judges_each_class_on_its_own(sigmoid: Clip) -> None:
    (answer,) = answers(request(lambda: sigmoid), (48, 64), tiles=1)
    np.testing.assert_allclose(answer.scores, logits(sigmoid, noise((48, 64))).sigmoid(), atol=1e-5)
    (asked_for,) = answers(request(lambda: sigmoid), (48, 64), tiles=1, activation="softmax")
    np.testing.assert_allclose(asked_for.scores, logits(sigmoid, noise((48, 64))).softmax(0), atol=1e-5)
    assert answer.threshold == clip_method.THRESHOLDS["sigmoid"]


def test_a_model_that_was_taught_with_captions_of_regions_is_asked_by_attention(tmp_path: Path) -> None:
    taught = random_clip(tmp_path, "tiny", captions="regions")
    (chosen,) = answers(request(lambda: taught), (48, 64))
    (asked_for,) = answers(request(lambda: taught), (48, 64), tiles=6, tiles_by="attention")
    np.testing.assert_array_equal(chosen.scores, asked_for.scores)


def test_any_other_model_is_shown_tiles_cut_out(sigmoid: Clip) -> None:
    (chosen,) = answers(request(lambda: sigmoid), (48, 64))
    (asked_for,) = answers(request(lambda: sigmoid), (48, 64), tiles=2, tiles_by="crop")
    np.testing.assert_array_equal(chosen.scores, asked_for.scores)
    (other,) = answers(request(lambda: sigmoid), (48, 64), tiles=6, tiles_by="attention")
    assert np.abs(chosen.scores - other.scores).max() > 1e-4


@pytest.mark.parametrize("tiles", [2, 3])
def test_each_class_is_believed_where_it_was_seen_best(tiles: int, sigmoid: Clip) -> None:
    (answer,) = answers(request(lambda: sigmoid), (60, 90), tiles=tiles, tiles_by="crop")
    views = [crop_view(noise((60, 90)), box, (48, 64), "squash", (0, 0, 0)) for box in tile_boxes(tiles)]
    single = [logits(sigmoid, seen).sigmoid() for seen in views]
    np.testing.assert_allclose(answer.scores, torch.stack(single).amax(0), atol=1e-5)


@pytest.mark.parametrize("resize_mode", ["squash", "pad"])
def test_one_tile_by_attention_is_the_plain_look(resize_mode: str, sigmoid: Clip) -> None:
    (plain,) = answers(request(lambda: sigmoid), (60, 90), tiles=1, resize=resize_mode)
    (answer,) = answers(request(lambda: sigmoid), (60, 90), tiles=1, tiles_by="attention", resize=resize_mode)
    np.testing.assert_allclose(answer.scores, plain.scores, atol=1e-5)


def test_tiles_by_attention_see_only_their_own_patches_in_the_last_block(sigmoid: Clip) -> None:
    (answer,) = answers(request(lambda: sigmoid), (48, 64), tiles=2, tiles_by="attention")
    visual = sigmoid.network.visual
    last, tokens = visual.transformer.resblocks[-1], 1 + 48
    with torch.no_grad():
        values = sigmoid.vit.trunk(sigmoid.pixels([noise((48, 64))])).values
        single = []
        for box in tile_boxes(2):
            hidden = torch.zeros(tokens, tokens)
            hidden[0, 1:][~torch.from_numpy(cells_in_box(box, (6, 8)))] = -torch.inf
            feature = visual.ln_post(last(values, attn_mask=hidden))[:, 0] @ visual.proj
            feature = torch.nn.functional.normalize(feature, dim=-1)
            single.append(sigmoid.logits(feature, sigmoid.classifier(PHRASES, TEMPLATES))[0].sigmoid())
    np.testing.assert_allclose(answer.scores, torch.stack(single).amax(0), atol=1e-5)


@pytest.mark.parametrize("tiles_by", ["crop", "attention"])
def test_with_a_grid_each_tile_is_scored_by_views_inside_of_it(tiles_by: str, sigmoid: Clip) -> None:
    asked = request(lambda: sigmoid, grid=(2, 4))
    (answer,) = answers(asked, (48, 64), tiles=1, tiles_by=tiles_by)
    assert answer.tiles is not None
    np.testing.assert_array_equal(answer.scores, answer.tiles.max((0, 1)))
    texts = sigmoid.classifier(PHRASES, TEMPLATES)
    for (i, j), found in zip(np.ndindex(2, 4), answer.tiles.reshape(8, 3), strict=True):
        if tiles_by == "crop":
            view = resize(noise((48, 64)), (48, 64), (16 * j, 24 * i, 16 * j + 16, 24 * i + 24))
            feature = sigmoid.image_features(sigmoid.pixels([view]))[0]
        else:
            inside = torch.zeros(6, 8, dtype=torch.bool)
            inside[3 * i : 3 * i + 3, 2 * j : 2 * j + 2] = True
            feature = sigmoid.region_features(sigmoid.pixels([noise((48, 64))]), inside.reshape(1, -1))[0, 0]
        np.testing.assert_allclose(found, sigmoid.logits(feature, texts).sigmoid(), atol=1e-5)


def test_tiles_by_attention_in_a_padded_frame_are_where_the_frame_is(sigmoid: Clip) -> None:
    (answer,) = answers(request(lambda: sigmoid, grid=(2, 1)), (24, 64), tiles=1, tiles_by="attention", resize="pad")
    grey = [np.broadcast_to(np.round(np.array(sigmoid.mean) * 255).astype(np.uint8), (12, 64, 3))] * 2
    pixels = sigmoid.pixels([np.concatenate([grey[0], noise((24, 64)), grey[1]])])
    regions = torch.zeros(2, 6, 8, dtype=torch.bool)  # cells of 8 pixels: 1.5 rows of grey, 3 of the frame
    regions[0, 2:3], regions[1, 3:4] = True, True
    features = sigmoid.region_features(pixels, regions.flatten(1))[0]
    expected = sigmoid.logits(features, sigmoid.classifier(PHRASES, TEMPLATES)).sigmoid()
    np.testing.assert_allclose(answer.tiles[:, 0], expected, atol=1e-5)


def test_tiles_by_attention_in_a_cropped_frame_are_refused_in_one_line(sigmoid: Clip) -> None:
    asked = request(lambda: sigmoid, grid=(1, 2))
    with pytest.raises(ParamsError, match=r"label\.options\.clip\.resize: crop cuts off sides of a frame"):
        answers(asked, (24, 64), tiles_by="attention", resize="crop")
    assert answers(asked, (24, 64), tiles_by="crop", resize="crop")[0].tiles.shape == (1, 2, 3)


def test_a_grid_of_one_tile_changes_nothing(sigmoid: Clip) -> None:
    (whole,) = answers(request(lambda: sigmoid), (60, 90), tiles_by="crop")
    (one,) = answers(request(lambda: sigmoid, grid=(1, 1)), (60, 90), tiles_by="crop")
    assert one.scores.tobytes() == whole.scores.tobytes()
    assert one.tiles is None


def test_fewer_views_are_taken_inside_of_a_tile_than_of_a_frame(sigmoid: Clip) -> None:
    asked = request(lambda: sigmoid, grid=(2, 1))
    (chosen,) = answers(asked, (48, 64), tiles_by="attention")
    (told,) = answers(asked, (48, 64), tiles=3, tiles_by="attention")
    np.testing.assert_array_equal(chosen.tiles, told.tiles)


def test_regions_of_a_model_that_averages_patches_average_only_theirs(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "avg")
    pixels = clip.pixels([noise((64, 64)), noise((64, 64), 1)])
    regions = torch.stack([torch.ones(16, dtype=torch.bool), torch.arange(16) < 5])
    found = clip.region_features(pixels, regions)
    assert found.shape == (2, 2, 16)
    torch.testing.assert_close(found[:, 0], clip.image_features(pixels), atol=1e-5, rtol=0)
    visual = clip.network.visual
    with torch.no_grad():
        tokens = visual.ln_post(visual.transformer(visual._embeds(pixels)))
        expected = torch.nn.functional.normalize(tokens[:, 1:6].mean(1) @ visual.proj, dim=-1)
    torch.testing.assert_close(found[:, 1], expected, atol=1e-5, rtol=0)


def test_a_frames_scores_do_not_depend_on_other_frames(sigmoid: Clip) -> None:
    together = answers(request(lambda: sigmoid), (48, 64), (60, 90), (100, 30))
    for index, alone in enumerate(frames((48, 64), (60, 90), (100, 30))):
        (answer,) = clip_method.label([alone], request(lambda: sigmoid))
        assert answer.scores.tobytes() == together[index].scores.tobytes()


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"tiles": 0}, "tiles: expected auto or a whole number from 1, found 0"),
        ({"tiles": True}, "tiles: expected auto or a whole number from 1, found True"),
        ({"tiles_by": "crops"}, "tiles_by: expected one of auto, crop, attention; found 'crops'; did you mean 'crop'"),
        ({"resize": "stretch"}, "resize: expected one of squash, crop, pad; found 'stretch'"),
        ({"activation": "softmx"}, "found 'softmx'; did you mean 'softmax'"),
        ({"activation": "sigmoid"}, "needs a model that learned a logit bias"),
    ],
)
def test_options_that_mean_nothing_are_told(options: dict, line: str, softmax: Clip) -> None:
    with pytest.raises(ParamsError, match=line):
        answers(request(lambda: softmax), (64, 64), **options)


def test_given_labels_become_scores_without_loading_anything() -> None:
    table = {"f0": np.array([True, False, True]), "f1": np.zeros(3, bool), "other": np.ones(3, bool)}

    def never(*_: object) -> Clip:
        raise AssertionError("a table needs neither images nor a model")

    asked = request(never, read_labels={"given.csv": table}.__getitem__)
    found = list(given.label([NamedImage("f0", never), NamedImage("f1", never)], asked, path="given.csv"))
    np.testing.assert_array_equal([answer.scores for answer in found], [[1, 0, 1], [0, 0, 0]])
    assert {answer.threshold for answer in found} == {0.5}


def test_a_frame_without_given_labels_is_told(tmp_path: Path) -> None:
    asked = request(lambda: None, read_labels=lambda _path: {"f0": np.zeros(3, bool)})
    with pytest.raises(DataError, match=r"given.csv: expected a line for each of 2 frames, 1 have none.*'f1'"):
        list(given.label(frames((8, 8), (8, 8)), asked, path="given.csv"))


def test_given_labels_of_tiles_are_read_with_a_grid() -> None:
    table = {"f0": np.array([[[True, False, False]], [[False, False, True]]])}
    asked = request(lambda: None, grid=(2, 1), read_tiles={"given.csv": table}.__getitem__)
    (found,) = given.label([NamedImage("f0", lambda: None)], asked, path="given.csv")
    np.testing.assert_array_equal(found.tiles, [[[1, 0, 0]], [[0, 0, 1]]])
    np.testing.assert_array_equal(found.scores, [1, 0, 1])
