"""TagCLIP against a version of it written out with torch's own attention, and its rules by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.encoders.models import noise, random_clip
from wildseg.core.errors import ModelError, ParamsError
from wildseg.encoders.clip import Clip, resize
from wildseg.encoders.vit import ViT
from wildseg.labels.decide import decide
from wildseg.labels.interface import LabelRequest, LabelResult, NamedImage
from wildseg.labels.refinement import VotingRecorder
from wildseg.labels.tiles import crop
from wildseg.methods.labels import tagclip
from wildseg.metrics.multilabel import average_precision

PHRASES = (("sky", "clouds"), ("road",), ("lawn",), ("water",))
BACKGROUND = ("wall", "sea")
TEMPLATES = ("a photo of {}.", "{}")


def request(encoder: Callable[[], Clip], **changes: object) -> LabelRequest:
    asked = LabelRequest(("sky", "road", "lawn", "water"), PHRASES, BACKGROUND, TEMPLATES, encoder, lambda _path: {})
    return replace(asked, **changes)


def frames(*shapes: tuple[int, int]) -> list[NamedImage]:
    return [NamedImage(f"f{i}", lambda i=i, shape=shape: noise(shape, i)) for i, shape in enumerate(shapes)]


def answers(clip: Clip, *shapes: tuple[int, int], **options: object) -> list[LabelResult]:
    return list(tagclip.label(frames(*shapes), request(lambda: clip), **options))


@pytest.fixture(scope="module", params=["vit-quickgelu", "tiny", "patch14", "patch32", "vit-scaled"])
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def softmax(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return random_clip(tmp_path_factory.mktemp("softmax"), "vit")


def pixels_of(clip: Clip, shape: tuple[int, int]) -> Tensor:
    """The input of a frame whose sides are whole patches."""
    return clip.pixels([noise(shape)])


def texts_of(clip: Clip) -> Tensor:
    return clip.classifier((*PHRASES, *((phrase,) for phrase in BACKGROUND)), TEMPLATES)


# Written out with torch's own attention -----------------------------------------------------------------------------


def block_of_torch(block: torch.nn.Module, values: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """One block by nn.MultiheadAttention with an additive mask: the tokens, and the head-averaged weights."""
    normed = block.ln_1(values)
    mixed, weights = block.attn(normed, normed, normed, attn_mask=mask, need_weights=True)
    values = values + block.ls_1(mixed)
    return values + block.ls_2(block.mlp(block.ln_2(values))), weights


def belief_of_torch(clip: Clip, tokens: Tensor) -> Tensor:
    visual = clip.network.visual
    logits = clip.scale * F.normalize(visual.ln_post(tokens) @ visual.proj, dim=-1) @ texts_of(clip).T
    return logits.softmax(-1) if clip.bias is None else (logits + clip.bias).sigmoid()


def box_mask(image: np.ndarray, share: float) -> np.ndarray:
    """Boxes around 8-connected components, by flood fill."""
    grey = (255 * image).astype(np.uint8)
    marked = grey > int(share * int(grey.max()))
    mask, seen = np.zeros(image.shape, bool), np.zeros(image.shape, bool)
    for start in zip(*np.nonzero(marked), strict=True):
        if seen[start]:
            continue
        stack, cells = [start], []
        seen[start] = True
        while stack:
            y, x = stack.pop()
            cells.append((y, x))
            for other in ((y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
                inside = 0 <= other[0] < image.shape[0] and 0 <= other[1] < image.shape[1]
                if inside and marked[other] and not seen[other]:
                    seen[other] = True
                    stack.append(other)
        ys, xs = zip(*cells, strict=True)
        mask[min(ys) : max(ys) + 1, min(xs) : max(xs) + 1] = True
    return mask


@torch.no_grad()
def written_out(clip: Clip, image: np.ndarray, averaged: range, needed: int, positions: str = "bicubic") -> np.ndarray:
    """The scores of one frame, step by step as the paper has them: (K,)."""
    tower, visual = clip.vit, clip.network.visual
    patch, blocks = tower.patch, visual.transformer.resblocks
    size = tuple(-(-side // step) * step for side, step in zip(image.shape[:2], patch, strict=True))
    pixels = clip.pixels([resize(image, size)])
    h, w = size[0] // patch[0], size[1] // patch[1]
    whole = tower if size == clip.size else ViT(visual, positions)
    values, weights = whole.embed(pixels).values, []
    for block in blocks[:-1]:
        values, seen = block_of_torch(block, values, None)
        weights.append(seen[0, 1:, 1:].double().numpy())
    weights.append(block_of_torch(blocks[-1], values, None)[1][0, 1:, 1:].double().numpy())
    only_itself = -100 * (1 - torch.eye(h * w + 1))
    values, _ = block_of_torch(blocks[-1], values, only_itself)
    coarse = belief_of_torch(clip, values)[0, 1:].double().numpy()

    votes = sum((layer > layer.mean()).astype(int) for layer in weights)
    attention = np.mean([weights[number] for number in averaged], 0) * (votes >= needed)
    first = attention @ coarse
    refined = np.zeros_like(first)
    for c in range(first.shape[1]):
        low, high = first[:, c].min(), first[:, c].max()
        shown = ((first[:, c] - low) / (high - low)).reshape(h, w)
        masked = attention * box_mask(shown, shown.mean()).reshape(1, -1)
        refined[:, c] = masked @ coarse[:, c]

    scores = refined[:, : len(PHRASES)].max(0)
    theta = refined.min() + 0.5 * (refined.max() - refined.min())
    for c in np.flatnonzero(scores > theta):
        low, high = refined[:, c].min(), refined[:, c].max()
        region = ((refined[:, c] - low) / (high - low) > 0.5).reshape(h, w)
        ys, xs = np.nonzero(region)
        top, bottom, left, right = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
        crop = pixels[:, :, top * patch[0] : bottom * patch[0], left * patch[1] : right * patch[1]]
        crop = F.interpolate(crop, clip.size, mode="bilinear", align_corners=False)
        own = torch.from_numpy(region[top:bottom, left:right]).float()[None, None]
        shrunk = F.interpolate(own, tower.native_grid, mode="nearest").flatten()
        mask = torch.zeros(len(shrunk) + 1, len(shrunk) + 1)
        mask[0, 1:] = -1000 * (1 - shrunk)
        values = tower.embed(crop).values
        for block in blocks:
            values, _ = block_of_torch(block, values, mask)
        scores[c] = 0.5 * scores[c] + 0.5 * float(belief_of_torch(clip, values)[0, 0, c])
    return scores


@pytest.mark.parametrize("shape", [(64, 64), (50, 90), (100, 37)])
def test_scores_are_those_of_the_paper_written_out(clip: Clip, shape: tuple[int, int]) -> None:
    (answer,) = answers(clip, shape, layers=1, votes=1)
    number = len(clip.vit.blocks)
    expected = written_out(clip, noise(shape), range(number - 2, number - 1), 1)
    np.testing.assert_allclose(answer.scores, expected, atol=2e-5)
    assert (answer.threshold, answer.relative) == (0.5, True)


def test_the_choice_of_blocks_and_votes_reaches_the_scores(softmax: Clip) -> None:
    by_default, expected = answers(softmax, (64, 90))[0].scores, written_out(softmax, noise((64, 90)), range(1, 2), 1)
    np.testing.assert_allclose(by_default, expected, atol=2e-5)
    (wider,) = answers(softmax, (64, 90), layers=2, votes=3)
    np.testing.assert_allclose(wider.scores, written_out(softmax, noise((64, 90)), range(2), 3), atol=2e-5)
    assert np.abs(wider.scores - by_default).max() > 1e-3


# Step 1: patches ----------------------------------------------------------------------------------------------------


def test_a_patch_that_sees_itself_alone_takes_the_path_of_its_value(clip: Clip) -> None:
    tower = clip.vit
    last = tower.blocks[-1]
    with torch.no_grad():
        values = tower.trunk(pixels_of(clip, clip.size)).values
        width = values.shape[-1]
        matrix, bias = last.attn.in_proj_weight[2 * width :], last.attn.in_proj_bias[2 * width :]
        mixed = last.attn.out_proj(F.linear(last.ln_1(values), matrix, bias))
        out = values + last.ls_1(mixed)
        out = out + last.ls_2(last.mlp(last.ln_2(out)))
        expected = tower.visual.ln_post(out[:, 1:]) @ tower.visual.proj
        found = tower.dense_features(values, tagclip.value_only, residual=True, mlp=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_belief_of_a_patch_is_shared_by_classes_and_background(softmax: Clip) -> None:
    recorder = VotingRecorder(range(1, 2))
    probability, grid = tagclip.patch_probabilities(
        softmax, softmax.vit, pixels_of(softmax, (48, 80)), texts_of(softmax), "softmax", recorder
    )
    assert grid == (3, 5)
    assert probability.shape == (15, 6)
    torch.testing.assert_close(probability.sum(1), torch.ones(15))
    assert int(recorder.votes.max()) <= 3
    assert float(recorder.attention(1).sum(1).max()) <= 1


# Step 3: looking again ----------------------------------------------------------------------------------------------


def one_tile(grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """All four classes are chosen, in one tile of all patches."""
    return torch.ones(1, 4, dtype=torch.bool), torch.ones(1, grid[0] * grid[1], dtype=torch.bool)


def look_again(clip: Clip, pixels: Tensor, regions: dict) -> dict[int, float]:
    activation = "softmax" if clip.bias is None else "sigmoid"
    of_one_tile = {(0, index): region for index, region in regions.items()}
    found = tagclip.region_probabilities(clip, clip.vit, pixels, of_one_tile, texts_of(clip), activation)
    return {index: float(value) for (_, index), value in found.items()}


def test_a_region_without_gaps_is_a_plain_look_at_the_crop(clip: Clip) -> None:
    high, wide = clip.vit.patch
    pixels = pixels_of(clip, (6 * high, 6 * wide))
    found = look_again(clip, pixels, {2: ((1, 2, 4, 6), torch.ones(3, 4, dtype=torch.bool))})
    crop = pixels[:, :, high : 4 * high, 2 * wide : 6 * wide]
    crop = F.interpolate(crop, clip.size, mode="bilinear", align_corners=False)
    with torch.no_grad():
        logits = clip.logits(clip.network.encode_image(crop, normalize=True), texts_of(clip))[0]
    expected = logits.softmax(0)[2] if clip.bias is None else logits.sigmoid()[2]
    assert found == {2: pytest.approx(float(expected), abs=1e-5)}


def test_many_regions_at_once_are_as_each_by_itself(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = pixels_of(clip, tuple(6 * side for side in clip.vit.patch))
    rng = np.random.default_rng(0)
    regions = {
        index: (box, torch.from_numpy(rng.random((box[2] - box[0], box[3] - box[1])) > 0.4))
        for index, box in enumerate([(0, 0, 6, 6), (1, 2, 4, 6), (5, 5, 6, 6), (0, 1, 2, 2)])
    }
    together = look_again(clip, pixels, regions)
    alone = {index: look_again(clip, pixels, {index: region})[index] for index, region in regions.items()}
    assert together == {index: pytest.approx(value, abs=1e-5) for index, value in alone.items()}
    monkeypatch.setattr(tagclip, "BATCH", 3)
    assert look_again(clip, pixels, regions) == {i: pytest.approx(value, abs=1e-5) for i, value in alone.items()}


def test_a_model_that_averages_patches_averages_those_of_the_region(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "avg")
    visible = torch.arange(16)[None] < 5
    with torch.no_grad():
        found = clip.vit.masked_features(pixels_of(clip, (64, 64)), visible)
        values = clip.vit.embed(pixels_of(clip, (64, 64))).values
        mask = torch.zeros(17, 17)
        mask[0, 6:] = -torch.inf
        for block in clip.vit.blocks:
            values, _ = block_of_torch(block, values, mask)
        visual = clip.network.visual
        expected = visual.ln_post(values)[:, 1:6].mean(1) @ visual.proj
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert all(np.isfinite(answer.scores).all() for answer in answers(clip, (64, 64), (30, 50)))


def test_looked_at_again_is_what_exceeds_the_share_and_its_score_is_the_mean(softmax: Clip) -> None:
    seldom, often = answers(softmax, (64, 90), reidentify=1.0)[0], answers(softmax, (64, 90), reidentify=0.0)[0]
    texts, tower = texts_of(softmax), softmax.vit
    recorder = VotingRecorder(range(1, 2))
    pixels = softmax.pixels([resize(noise((64, 90)), (64, 96))])
    coarse, grid = tagclip.patch_probabilities(softmax, tower, pixels, texts, "softmax", recorder)
    refined = tagclip.refine(coarse, recorder.attention(1), grid)
    np.testing.assert_allclose(seldom.scores, refined[:, :4].amax(0), atol=1e-6)
    regions = tagclip._regions(refined, *one_tile(grid), grid, 0.5, exclusive_box_ends=False, early_return=False)
    again = tagclip.region_probabilities(softmax, tower, pixels, regions, texts, "softmax")
    expected = [(local + float(again[0, c])) / 2 for c, local in enumerate(seldom.scores)]
    np.testing.assert_allclose(often.scores, expected, atol=1e-6)


def test_a_class_that_was_not_looked_at_again_keeps_its_local_score() -> None:
    local = torch.tensor([[0.6, 0.3, 0.1]])
    torch.testing.assert_close(tagclip.fuse(local, {(0, 0): torch.tensor(0.2)}), torch.tensor([[0.4, 0.3, 0.1]]))
    torch.testing.assert_close(local, torch.tensor([[0.6, 0.3, 0.1]]))


def test_an_empty_region_stops_the_published_code_and_nothing_else() -> None:
    corner, spread = torch.zeros(3, 3), torch.zeros(3, 3)
    corner[2, 2] = 1
    spread[:2, :2] = 1
    refined = torch.stack([spread, torch.ones(3, 3), corner, spread], -1).reshape(9, 4)
    find = lambda **how: [c for _, c in tagclip._regions(refined, *one_tile((3, 3)), (3, 3), 0.5, **how)]  # noqa: E731
    assert find(exclusive_box_ends=False, early_return=False) == [0, 2, 3]  # the same everywhere: no region
    assert find(exclusive_box_ends=True, early_return=False) == [0, 3]
    assert find(exclusive_box_ends=False, early_return=True) == [0]
    assert find(exclusive_box_ends=True, early_return=True) == [0]


# Tiles of a grid ----------------------------------------------------------------------------------------------------


def test_by_crop_each_tile_is_a_frame_of_its_own(clip: Clip) -> None:
    ((tiled,), image) = tagclip.label(frames((64, 90)), request(lambda: clip, grid=(2, 3))), noise((64, 90))
    alone = [NamedImage("", lambda i=i, j=j: crop(image, i, j, (2, 3))) for i, j in np.ndindex(2, 3)]
    expected = np.stack([one.scores for one in tagclip.label(alone, request(lambda: clip))])
    np.testing.assert_array_equal(tiled.tiles, expected.reshape(2, 3, 4))
    np.testing.assert_array_equal(tiled.scores, expected.max(0))


@pytest.mark.parametrize("reidentify", [1.0, 0.0])
def test_by_attention_tiles_share_the_patches_of_the_whole_frame(reidentify: float, softmax: Clip) -> None:
    asked, pixels = request(lambda: softmax, grid=(2, 3)), pixels_of(softmax, (64, 96))
    (found,) = tagclip.label(frames((64, 96)), asked, tiles_by="attention", reidentify=reidentify)
    coarse, grid = tagclip.patch_probabilities(
        softmax, softmax.vit, pixels, texts_of(softmax), "softmax", recorder := VotingRecorder(range(1, 2))
    )
    assert grid == (4, 6)
    refined = tagclip.refine(coarse, recorder.attention(1), grid)[:, :4]
    stretched = (refined - refined.amin(0)) / (refined.amax(0) - refined.amin(0))
    again = 0
    for (i, j), c in product(np.ndindex(2, 3), range(4)):
        rows, columns = slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2)
        expected = refined[:, c].reshape(grid)[rows, columns].max()
        region = torch.zeros(grid, dtype=torch.bool)
        region[rows, columns] = (stretched[:, c] > 0.5).reshape(grid)[rows, columns]
        if reidentify == 0 and region.any():  # all scores are above the lowest
            (top, bottom), (left, right) = [(own.min(), own.max() + 1) for own in region.nonzero().T]
            box = (int(top), int(left), int(bottom), int(right))
            crops = {c: (box, region[top:bottom, left:right])}
            expected, again = (expected + look_again(softmax, pixels, crops)[c]) / 2, again + 1
        assert found.tiles[i, j, c] == pytest.approx(float(expected), abs=1e-5)
    assert (again > 4) == (reidentify == 0)
    np.testing.assert_array_equal(found.scores, found.tiles.max((0, 1)))


def test_a_grid_of_one_tile_is_the_frame(clip: Clip) -> None:
    for tiles_by in ("crop", "attention"):
        (one,) = answers(clip, (64, 90), tiles_by=tiles_by)
        assert one.tiles is None
        np.testing.assert_array_equal(one.scores, answers(clip, (64, 90))[0].scores)


def test_a_grid_finer_than_the_patches_has_scores_of_every_tile(softmax: Clip) -> None:
    asked = request(lambda: softmax, grid=(9, 1))
    (found,) = tagclip.label(frames((40, 60)), asked, tiles_by="attention")
    assert found.tiles.shape == (9, 1, 4)
    assert (found.tiles > 0).all()


# Frames, batches, blocks --------------------------------------------------------------------------------------------


def test_a_frames_scores_do_not_depend_on_other_frames(clip: Clip) -> None:
    together = answers(clip, (48, 64), (60, 90), (100, 30))
    for index, alone in enumerate(frames((48, 64), (60, 90), (100, 30))):
        (answer,) = tagclip.label([alone], request(lambda: clip))
        assert answer.scores.tobytes() == together[index].scores.tobytes()


def test_frames_of_any_size_have_scores(softmax: Clip) -> None:
    for answer in answers(softmax, (1, 1), (7, 90), (16, 16), (300, 20)):
        assert answer.scores.shape == (4,)
        assert ((answer.scores >= 0) & (answer.scores <= 1)).all()


def test_a_large_frame_is_shrunk_and_then_enlarged_to_whole_patches() -> None:
    sizes = {(100, 200): (32, 64), (64, 64): (64, 64), (10, 61): (16, 64), (65, 3): (64, 16)}
    for shape, expected in sizes.items():
        assert tagclip._whole_patches(noise(shape), (16, 16), 64).shape[:2] == expected
    assert tagclip._whole_patches(noise((100, 200)), (14, 14), None).shape[:2] == (112, 210)


@pytest.mark.parametrize(
    ("number", "expected", "needed"),
    [(12, [8, 9, 10], 4), (24, [16, 17, 18, 19, 20, 21, 22], 8), (5, [3], 2), (3, [1], 1), (2, [0], 1), (1, [0], 1)],
)
def test_blocks_and_votes_keep_their_share_of_the_depth(number: int, expected: list[int], needed: int) -> None:
    assert list(tagclip.choose_blocks(number, "auto")) == expected
    assert tagclip._needed(number, "auto") == needed
    assert list(tagclip.choose_blocks(number, 100)) == list(range(max(1, number - 1)))


def test_repeating_a_class_halves_what_patches_believe(softmax: Clip) -> None:
    once = answers(softmax, (64, 64), reidentify=1.0)[0]
    asked = request(
        lambda: softmax,
        class_names=("sky", "road", "lawn", "water", "again"),
        phrases=(*PHRASES, ("water",)),
    )
    (twice,) = tagclip.label(frames((64, 64)), asked, reidentify=1.0)
    assert twice.scores[3] == pytest.approx(twice.scores[4], rel=1e-4)
    assert twice.scores[3] < once.scores[3]


def test_the_published_rule_and_average_precision_by_hand() -> None:
    found = decide(np.array([[0.9, 0.5, 0.1, 0.52]]), list("abcd"), 0.5, relative=True)
    np.testing.assert_array_equal(found, [[True, False, False, True]])
    value = average_precision(np.array([[True], [False], [True], [False]]), np.array([[0.9], [0.8], [0.7], [0.6]]))
    assert value[0] == pytest.approx(0.8333, abs=5e-5)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"reidentify": 1.5}, "tagclip.reidentify: expected a number from 0 to 1, found 1.5"),
        ({"region": "half"}, "tagclip.region: expected a number from 0 to 1, found 'half'"),
        ({"layers": 0}, "tagclip.layers: expected auto or a whole number from 1, found 0"),
        ({"votes": True}, "tagclip.votes: expected auto or a whole number from 1, found True"),
        ({"max_side": "auto"}, "tagclip.max_side: expected null or a whole number from 1, found 'auto'"),
        (
            {"pos_embed_interpolation": "cubic"},
            "tagclip.pos_embed_interpolation: expected one of bicubic, bilinear_half; found 'cubic'",
        ),
        ({"activation": "sigmoid"}, "tagclip.activation: sigmoid needs a model that learned a logit bias"),
    ],
)
def test_options_that_mean_nothing_are_told(options: dict, line: str, softmax: Clip) -> None:
    with pytest.raises(ParamsError, match=line):
        answers(softmax, (64, 64), **options)


@pytest.mark.parametrize("shape", [(64, 64), (50, 90)])
def test_published_position_embeddings_are_rounded_where_they_are_resampled_and_nowhere_else(
    shape: tuple[int, int], tmp_path: Path
) -> None:
    clip = random_clip(tmp_path, "vit")
    clip.network.visual.positional_embedding.data *= 100  # of which float16 keeps three digits
    (found,) = answers(clip, shape, pos_embed_interpolation="bilinear_half")
    expected = written_out(clip, noise(shape), range(1, 2), 1, "bilinear_half")
    np.testing.assert_allclose(found.scores, expected, atol=2e-6)
    (usual,) = answers(clip, shape)
    assert (usual.scores.tobytes() == found.scores.tobytes()) is (shape == clip.size)


def test_a_resnet_is_refused_in_one_line(tmp_path: Path) -> None:
    clip = random_clip(tmp_path, "resnet")
    with pytest.raises(
        ModelError, match=r"label.method: tagclip classifies the patches of a vision transformer; .* has none"
    ):
        answers(clip, (64, 64))
