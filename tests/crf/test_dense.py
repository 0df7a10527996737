"""The lattice of pydensecrf against the same equations as plain sums, in float64."""

import numpy as np
import pytest

from tests.crf.configs import crf_params, with_changes
from wildseg.core.errors import ParamsError
from wildseg.crf import dense
from wildseg.crf.dense import check, colours, marginals
from wildseg.crf.params import Crf
from wildseg.crf.unary import energies

CLIP_ES = crf_params(
    iterations=10, gaussian_weight=3, gaussian_sxy=1, bilateral_weight=4, bilateral_sxy=67, bilateral_srgb=3
)
OURS = crf_params(
    iterations=5, gaussian_weight=3, gaussian_sxy=3, bilateral_weight=8, bilateral_sxy=40, bilateral_srgb=6
)


def exact(probabilities: np.ndarray, image: np.ndarray, crf: Crf) -> np.ndarray:
    """Mean field over all pairs of pixels: (K, H, W) float64."""
    count, height, width = probabilities.shape
    rows, columns = np.mgrid[:height, :width]
    positions = np.stack([rows.ravel(), columns.ravel()], 1).astype(np.float64)
    colour = image.reshape(-1, 3).astype(np.float64)
    distance = ((positions[:, None] - positions) ** 2).sum(-1)
    contrast = ((colour[:, None] - colour) ** 2).sum(-1)
    smooth = np.exp(-distance / (2 * crf.gaussian.sxy**2))
    similar = np.exp(-distance / (2 * crf.bilateral.sxy**2) - contrast / (2 * crf.bilateral.srgb**2))
    message = np.zeros_like(smooth)
    for weight, kernel in ((crf.gaussian.weight, smooth), (crf.bilateral.weight, similar)):
        norm = kernel.sum(1) ** -0.5
        message += weight * norm[:, None] * kernel * norm
    unary = -np.log(np.clip(probabilities.astype(np.float64), 1e-5, 1)).reshape(count, -1)
    field = softmax(-unary)
    for _ in range(crf.iterations):
        field = softmax(-unary + field @ message)
    return field.reshape(probabilities.shape)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(0))
    return powers / powers.sum(0)


def run(probabilities: np.ndarray, image: np.ndarray, crf: Crf) -> np.ndarray:
    return marginals(energies(probabilities, 1), image, crf)


def noisy_pair(seed: int, height: int = 6, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """A dark left and a bright right half with noise, and three noisy scores that favour one class per half."""
    rng = np.random.default_rng(seed)
    right = np.arange(width) >= width // 2
    image = (60 + 120 * right[None, :, None] + rng.normal(0, 4, (height, width, 3))).astype(np.uint8)
    scores = rng.dirichlet((1, 1, 1), (height, width)).transpose(2, 0, 1)
    scores[0] += 0.6 * ~right
    scores[1] += 0.6 * right
    return (scores / scores.sum(0)).astype(np.float32), image


@pytest.fixture
def worked_example() -> tuple[np.ndarray, np.ndarray]:
    """Two dark columns and a bright one, two classes."""
    image = np.zeros((2, 3, 3), np.uint8)
    image[:, 2] = 200
    first = np.array([[0.6, 0.4, 0.2], [0.7, 0.45, 0.1]])
    return np.stack([first, 1 - first]), image


@pytest.mark.parametrize(
    ("iterations", "expected"),
    [
        (1, [[0.705201, 0.332660, 0.004339], [0.803718, 0.387425, 0.001838]]),
        (10, [[0.998860, 0.992631, 0.002626], [0.999267, 0.993990, 0.001168]]),
    ],
)
def test_the_worked_example_comes_out_exactly_by_sums_and_nearly_by_the_lattice(
    worked_example: tuple[np.ndarray, np.ndarray], iterations: int, expected: list[list[float]]
) -> None:
    crf = with_changes(CLIP_ES, iterations=iterations)
    np.testing.assert_allclose(exact(*worked_example, crf)[0], expected, atol=1e-6)
    np.testing.assert_allclose(run(*worked_example, crf)[0], expected, atol=0.015)


@pytest.mark.parametrize(
    ("crf", "tolerance"),
    [
        (with_changes(OURS, bilateral_weight=0, gaussian_sxy=1.5), 0.06),
        (with_changes(OURS, gaussian_weight=0, iterations=1), 0.06),
        (with_changes(OURS, gaussian_weight=1, bilateral_weight=1, iterations=10), 0.035),
        (with_changes(OURS, iterations=1), 0.06),
        (with_changes(CLIP_ES, iterations=1), 0.065),
    ],
    ids=["gaussian alone", "bilateral alone", "weak, ten rounds", "ours, one round", "published, one round"],
)
def test_the_lattice_stays_near_the_sums_over_all_pairs(crf: Crf, tolerance: float) -> None:
    for seed in range(5):
        pair = noisy_pair(seed)
        np.testing.assert_allclose(run(*pair, crf), exact(*pair, crf), atol=tolerance)


@pytest.mark.parametrize("crf", [OURS, CLIP_ES], ids=["ours", "published"])
def test_after_all_rounds_the_lattice_decides_like_the_sums_over_all_pairs(crf: Crf) -> None:
    agree = [(run(*pair, crf).argmax(0) == exact(*pair, crf).argmax(0)).mean() for pair in map(noisy_pair, range(10))]
    assert np.mean(agree) > 0.99


def test_without_iterations_or_weights_the_result_is_the_normalised_scores() -> None:
    scores = np.random.default_rng(0).random((4, 5, 7)).astype(np.float32)  # sums are not 1
    image = noisy_pair(0, 5, 7)[1]
    for crf in (
        with_changes(OURS, iterations=0),
        with_changes(OURS, gaussian_weight=0, bilateral_weight=0, iterations=1),
        with_changes(OURS, gaussian_weight=0, bilateral_weight=0, iterations=9),
    ):
        np.testing.assert_allclose(run(scores, image, crf), scores / scores.sum(0), atol=1e-5)


def test_uniform_scores_stay_uniform_on_any_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    np.testing.assert_allclose(run(np.full((5, 12, 9), 0.4, np.float32), image, OURS), 0.2, atol=1e-5)


def test_reordering_the_classes_reorders_the_result() -> None:
    scores, image = noisy_pair(3, 12, 10)
    np.testing.assert_allclose(run(scores[[2, 0, 1]], image, OURS), run(scores, image, OURS)[[2, 0, 1]], atol=1e-5)


def test_on_an_image_of_one_colour_the_bilateral_term_is_a_gaussian() -> None:
    scores, image = noisy_pair(4, 12, 10)
    flat = np.full_like(image, 77)
    gaussian = crf_params(iterations=3, gaussian_weight=2, gaussian_sxy=4, bilateral_weight=0)
    bilateral = crf_params(iterations=3, gaussian_weight=0, bilateral_weight=2, bilateral_sxy=4, bilateral_srgb=5)
    np.testing.assert_allclose(exact(scores, flat, bilateral), exact(scores, flat, gaussian))
    np.testing.assert_allclose(run(scores, flat, bilateral), run(scores, flat, gaussian), atol=0.03)


def test_each_pixels_probabilities_sum_to_one_and_lie_where_they_belong() -> None:
    scores, image = noisy_pair(5, 20, 30)
    found = run(scores, image, OURS)
    assert found.shape == (3, 20, 30)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)
    assert (found.argmax(0)[:, :15] == 0).mean() > 0.9
    assert (found.argmax(0)[:, 15:] == 1).mean() > 0.9


def test_two_runs_give_the_same_bytes() -> None:
    pair = noisy_pair(6, 30, 40)
    assert run(*pair, OURS).tobytes() == run(*pair, OURS).tobytes()


def test_a_single_class_is_certain_everywhere() -> None:
    np.testing.assert_array_equal(run(np.full((1, 3, 4), 0.1), np.zeros((3, 4, 3), np.uint8), OURS), 1)


def test_a_view_of_an_image_gives_what_its_copy_gives() -> None:
    scores, image = noisy_pair(7, 12, 10)
    np.testing.assert_array_equal(
        run(scores[:, :, ::-1], image[:, ::-1], OURS), run(scores[:, :, ::-1].copy(), image[:, ::-1].copy(), OURS)
    )


def test_a_read_only_image_is_accepted() -> None:
    scores, image = noisy_pair(7)
    image.flags.writeable = False
    assert run(scores, image, OURS).shape == (3, 6, 6)


def test_the_published_colours_drop_the_fraction_and_wrap_below_zero() -> None:
    # RGB (122, 117, 255) is BGR (255, 117, 122); minus (104.008, 116.669, 122.675) = (150.992, 0.331, -0.675).
    # BGR (0, 116, 200) gives (-104.008, -0.669, 77.325); cut to -104, 0, 77; 256 - 104 = 152.
    image = np.array([[[122, 117, 255], [200, 116, 0]]], np.uint8)
    np.testing.assert_array_equal(colours(image, "wrap_bgr_mean"), [[[150, 0, 0], [152, 0, 77]]])


def test_the_plain_colours_are_the_image_and_an_unknown_mode_is_refused() -> None:
    image = np.zeros((1, 1, 3), np.uint8)
    assert colours(image, "rgb") is image
    with pytest.raises(ValueError, match="bgr_rgb"):
        colours(image, "bgr_rgb")


def test_published_colours_that_do_not_wrap_keep_their_distances() -> None:
    image = np.random.default_rng(8).integers(130, 256, (12, 10, 3), np.uint8)
    shift = image[..., ::-1].astype(int) - colours(image, "wrap_bgr_mean")
    np.testing.assert_array_equal(shift, np.broadcast_to([105, 117, 123], shift.shape))


# Kernels that are too narrow -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "size", "line"),
    [
        ({"gaussian_sxy": 1e-6}, (48, 64), "crf.gaussian.sxy: expected at least 0.005 for a frame of 64x48 pixels"),
        ({"gaussian_sxy": 0.1}, (2160, 3840), "crf.gaussian.sxy: expected at least 0.27 for a frame of 3840x2160"),
        ({"bilateral_sxy": 1e-6}, (48, 64), "crf.bilateral.sxy: expected at least 0.01"),
        ({"bilateral_sxy": 0.1}, (1080, 1920), "crf.bilateral.sxy: expected at least"),
        ({"bilateral_srgb": 1e-6}, (48, 64), "crf.bilateral.srgb: expected at least 0.07"),
        ({"bilateral_srgb": 0.01}, (4, 4), "crf.bilateral.srgb: expected at least"),
        ({"gaussian_sxy": float("nan")}, (4, 4), "crf.gaussian.sxy: expected at least"),
    ],
)
def test_a_kernel_that_the_lattice_cannot_hold_is_one_line(
    change: dict[str, float], size: tuple[int, int], line: str
) -> None:
    with pytest.raises(ParamsError) as caught:
        check(*size, with_changes(OURS, **change))
    assert str(caught.value).startswith(line)
    assert str(caught.value).endswith(f"found {next(iter(change.values())):g}")


@pytest.mark.parametrize("key", ["gaussian_sxy", "bilateral_sxy", "bilateral_srgb"])
def test_the_smallest_value_that_is_named_works_and_one_below_is_refused(key: str) -> None:
    scores, image = noisy_pair(6, 40, 60)
    with pytest.raises(ParamsError) as caught:
        check(40, 60, with_changes(OURS, **{key: 1e-6}))
    smallest = float(str(caught.value).split("at least ")[1].split()[0])
    with pytest.raises(ParamsError):
        run(scores, image, with_changes(OURS, **{key: smallest - 0.002}))
    crf = with_changes(
        OURS, **{"gaussian_weight": 0, "bilateral_weight": 0, f"{key.split('_')[0]}_weight": 3, key: smallest}
    )
    assert np.abs(run(scores, image, crf) - exact(scores, image, crf)).mean() < 1e-3


def test_a_term_that_is_left_out_needs_no_width() -> None:
    check(2160, 3840, with_changes(OURS, gaussian_weight=0, gaussian_sxy=1e-9))
    check(2160, 3840, with_changes(OURS, bilateral_weight=0, bilateral_sxy=1e-9, bilateral_srgb=1e-9))


def test_how_far_a_lattice_reaches_is_what_its_own_steps_say() -> None:
    # Elevating a feature vector as Adams et al. do (2010, section 3.1), step by step.
    rng = np.random.default_rng(0)
    for largest in ([1919, 1079], [639, 359, 255, 255, 255]):
        d = len(largest)
        scale = [np.sqrt(2 / 3) * (d + 1) / np.sqrt((k + 1) * (k + 2)) for k in range(d)]
        worst = 0.0
        for corner in [np.array(largest), *(rng.integers(0, 2, d) * largest for _ in range(200))]:
            elevated, total = np.zeros(d + 1), 0.0
            for j in range(d, 0, -1):
                part = corner[j - 1] * scale[j - 1]
                elevated[j] = total - j * part
                total += part
            elevated[0] = total
            worst = max(worst, np.abs(elevated).max())
        assert dense._reach(tuple(largest), d, 0) == pytest.approx(worst)
