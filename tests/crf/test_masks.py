import numpy as np
import pytest

from tests.crf.configs import crf_params
from wildseg.crf.masks import confidence_of_maps, decide, pseudo_mask

NO_CRF = {"iterations": 0, "alpha": 1.0, "sharpen": 1.0, "min_confidence": 0.0, "confidence_from": "posterior"}
IMAGE = np.zeros((2, 4, 3), np.uint8)
NONE = np.zeros(0, np.int16), np.zeros((0, 1, 2), np.float32)


def test_the_mask_takes_the_id_of_the_largest_score_keys_shifted_by_one() -> None:
    maps = np.array([[[0.9, 0.0]], [[0.2, 0.1]]])
    mask, confidence = pseudo_mask(IMAGE[:1, :2], np.array([3, 0]), maps, crf_params(**NO_CRF), background=True)
    np.testing.assert_array_equal(mask, [[4, 0]])
    np.testing.assert_allclose(confidence, [[0.9 / 1.2, 0.9 / (0.9 + 0.1 + 1e-5)]], atol=1e-5)
    assert mask.dtype == np.uint8
    assert confidence.dtype == np.float32


def test_alpha_moves_the_border_of_the_background_whatever_the_sharpness() -> None:
    one = np.array([0]), np.full((1, 1, 1), 0.4)
    for sharpen in (1.0, 2.0, 5.0):
        ids = [
            pseudo_mask(IMAGE, *one, crf_params(**{**NO_CRF, "alpha": alpha, "sharpen": sharpen}), background=True)[0][
                0, 0
            ]
            for alpha in (1.0, 2.0)
        ]
        assert ids == [0, 1]


def test_without_background_no_pixel_is_background_however_weak_the_maps() -> None:
    maps = np.array([[[0.02, 0.0]], [[0.01, 0.001]]])
    mask, _ = pseudo_mask(IMAGE[:1, :2], np.array([5, 7]), maps, crf_params(**NO_CRF), background=False)
    np.testing.assert_array_equal(mask, [[6, 8]])


def test_a_frame_without_classes_is_background_where_there_is_one() -> None:
    mask, confidence = pseudo_mask(IMAGE, *NONE, crf_params(**{**NO_CRF, "min_confidence": 0.95}), background=True)
    assert mask.shape == (2, 4)
    assert not mask.any()
    np.testing.assert_array_equal(confidence, 1)


def test_a_frame_without_classes_is_undecided_where_every_pixel_should_have_one() -> None:
    mask, confidence = pseudo_mask(IMAGE, *NONE, crf_params(**NO_CRF), background=False)
    np.testing.assert_array_equal(mask, np.full((2, 4), 255))
    np.testing.assert_array_equal(confidence, 0)


@pytest.mark.parametrize("source", ["posterior", "maps"])
def test_one_class_without_background_takes_the_whole_frame(source: str) -> None:
    settings = {**NO_CRF, "confidence_from": source}
    mask, confidence = pseudo_mask(
        IMAGE, np.array([9]), np.full((1, 1, 2), 0.25), crf_params(**settings), background=False
    )
    np.testing.assert_array_equal(mask, np.full((2, 4), 10))
    np.testing.assert_allclose(confidence, 1 if source == "posterior" else 0.25)


def test_the_last_possible_class_gets_id_254() -> None:
    mask, _ = pseudo_mask(IMAGE, np.array([253], np.int16), np.ones((1, 1, 2)), crf_params(**NO_CRF), background=True)
    np.testing.assert_array_equal(mask, np.full((2, 4), 254))


def test_pixels_below_the_threshold_become_255_and_those_on_it_stay() -> None:
    marginals = np.array([[[0.25, 0.5, 0.1]], [[0.75, 0.5, 0.9]]])
    ids, confidence = np.array([0, 3], np.uint8), marginals.max(0)
    np.testing.assert_array_equal(decide(marginals, ids, confidence, 0.75), [[3, 255, 3]])
    np.testing.assert_array_equal(decide(marginals, ids, confidence, 0.0), [[3, 0, 3]])
    np.testing.assert_array_equal(decide(marginals, ids, confidence, 1.0), [[255, 255, 255]])


def test_the_confidence_of_maps_is_symmetric_around_one_half() -> None:
    strongest = np.array([[[0.0, 0.2, 0.5, 0.8, 1.0]], [[0.0, 0.1, 0.3, 0.1, 0.0]]])
    np.testing.assert_allclose(confidence_of_maps(strongest, background=True), [[1, 0.8, 0.5, 0.8, 1]])
    np.testing.assert_allclose(confidence_of_maps(strongest, background=False), [[0, 0.2, 0.5, 0.8, 1]])


def test_for_one_class_and_alpha_1_the_confidence_of_maps_is_the_larger_of_the_two_scores() -> None:
    classes, maps = np.array([0]), np.random.default_rng(0).random((1, 3, 4))
    from_maps, from_posterior = (
        pseudo_mask(
            np.zeros((3, 4, 3), np.uint8),
            classes,
            maps,
            crf_params(**{**NO_CRF, "confidence_from": source}),
            background=True,
        )[1]
        for source in ("maps", "posterior")
    )
    np.testing.assert_allclose(from_maps, from_posterior, atol=1e-5)


def test_confidence_from_maps_ignores_where_maps_are_undecided_even_if_the_crf_is_not() -> None:
    maps = np.array([[[1.0, 0.55, 0.0]]])
    settings = {**NO_CRF, "min_confidence": 0.95}
    unsure = crf_params(**{**settings, "confidence_from": "maps"})
    mask, _ = pseudo_mask(IMAGE[:1, :3], np.array([0]), maps, unsure, background=True)
    np.testing.assert_array_equal(mask, [[1, 255, 0]])
    strong = crf_params(**{**settings, "iterations": 10}, gaussian_weight=10, gaussian_sxy=3, bilateral_weight=0)
    mask, _ = pseudo_mask(IMAGE[:1, :2], np.array([0]), maps[:, :, :2], strong, background=True)
    np.testing.assert_array_equal(mask, [[1, 1]])


def test_an_unknown_source_of_confidence_is_refused() -> None:
    with pytest.raises(ValueError, match="guess"):
        pseudo_mask(IMAGE, *NONE, crf_params(**{**NO_CRF, "confidence_from": "guess"}), background=True)


@pytest.mark.parametrize("count", [1, 2, 7, 255])
def test_the_first_of_the_largest_wins_as_in_numpy(count: int) -> None:
    marginals = np.random.default_rng(count).integers(0, 4, (count, 40, 50)).astype(np.float32)  # nearly all are ties
    ids = np.arange(count, dtype=np.uint8)
    np.testing.assert_array_equal(decide(marginals, ids, np.ones((40, 50)), 0.5), marginals.argmax(axis=0))
