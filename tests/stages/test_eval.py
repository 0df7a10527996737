import re
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.stages import tiny_run
from tests.stages.tiny_run import LAWN, SKY, measured, rows, truth_of
from wildseg.artifacts.frame_counts import FrameCountsFile
from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.truth import check_id_offset, id_offset_warning
from wildseg.core.errors import DataError
from wildseg.core.files import load_json, save_json
from wildseg.core.images import save_label_image
from wildseg.core.tables import load_table
from wildseg.execution.runtime import Runtime
from wildseg.metrics import intervals
from wildseg.metrics.confusion import confusion_matrix, miou, raise_truth_ids
from wildseg.metrics.frame_counts import HELD_OUT, SEEN, strict, without_open
from wildseg.stages.eval.stage import run

CPU = Runtime(1, "cpu")


def outputs(artifacts: Artifacts) -> dict[str, bytes]:
    files = [artifacts.metrics_path("eval.json"), *artifacts.metrics_path("eval").rglob("*")]
    return {str(path.relative_to(artifacts.root)): path.read_bytes() for path in files if path.is_file()}


def test_labels_are_those_counted_on_paper(artifacts: Artifacts) -> None:
    # Right: sky in the first frame, lawn in the second. Wrong: road in the first. Missed: lawn in the first.
    # The one pixel of road in the second frame counts neither way.
    labels = measured(artifacts)["labels"]
    assert labels["precision"] == labels["recall"] == labels["f1"] == pytest.approx(2 / 3)
    assert [labels[f"f1.{name}"] for name in ("lawn", "road", "sky")] == pytest.approx([2 / 3, 0, 1])
    assert labels["macro_f1"] == pytest.approx((2 / 3 + 0 + 1) / 3)
    assert labels["map"] == pytest.approx(1)
    assert [labels[f"precision.{name}"] for name in ("lawn", "road", "sky")] == pytest.approx([1, 0, 1])
    assert [labels[f"recall.{name}"] for name in ("lawn", "sky")] == pytest.approx([1 / 2, 1])
    assert labels["recall.road"] is None  # in no frame, as far as it counts
    # Every class in both: 3 right; road in the first, sky in the second are wrong. By class 1, 0 and 2/3.
    assert labels["always_f1"] == pytest.approx(6 / 8)
    assert labels["always_macro_f1"] == pytest.approx((1 + 0 + 2 / 3) / 3)
    assert labels["exact_match"] == pytest.approx(1 / 2)
    assert labels["jaccard"] == pytest.approx((1 / 3 + 1) / 2)


def told(artifacts: Artifacts, capsys: pytest.CaptureFixture[str]) -> list[str]:
    run(tiny_run.params(), artifacts, CPU)
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("eval: labels' F1")]


def test_labels_no_better_than_naming_everything_are_told(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    advice = "change label.threshold, label.method or clip.model first"
    assert told(artifacts, capsys) == [
        "eval: labels' F1 0.667 on seen sources is not above 0.750, which naming every class in every frame reaches "
        f"(2 frames with truth): {advice}",
        "eval: labels' F1 0.000 on held-out sources is not above 0.500, which naming every class in every frame "
        f"reaches (1 frames with truth): {advice}",
    ]
    names = [frame.name for frame in tiny_run.FRAMES]
    everything = np.ones((4, 3), bool)
    artifacts.save_labels(names, tiny_run.CLASSES.names, everything)
    assert [line[:59] for line in told(artifacts, capsys)] == [
        "eval: labels' F1 0.750 on seen sources is not above 0.750, ",
        "eval: labels' F1 0.500 on held-out sources is not above 0.5",
    ]
    right = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]], bool)
    artifacts.save_labels(names, tiny_run.CLASSES.names, right)
    assert told(artifacts, capsys) == []


def test_where_every_class_is_in_every_frame_naming_them_all_is_right(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    for frame in tiny_run.FRAMES:
        save_label_image(truth_of(artifacts, frame.name), rows(1, 2, 3, 3))
    artifacts.save_labels([frame.name for frame in tiny_run.FRAMES], tiny_run.CLASSES.names, np.ones((4, 3), bool))
    assert told(artifacts, capsys) == []


def test_classes_that_were_held_out_of_the_training_are_reported_apart(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = measured(artifacts)
    assert not [name for name in plain["segmenter"] if "seen" in name or "harmonic" in name]
    assert "seen classes" not in capsys.readouterr().out
    tables = {name: content for name, content in outputs(artifacts).items() if name.endswith(".csv")}
    state, config = artifacts.load_segmenter()
    artifacts.save_segmenter(state, {**config, "held_out": ["road"]})
    # The model answers lawn everywhere: in the tested frame of seen sources 11 of 12 pixels are, and 1 is road.
    found = measured(artifacts)
    assert found["segmenter"]["miou_seen_classes"] == pytest.approx(11 / 12)
    assert found["segmenter"]["miou_unseen_classes"] == 0
    assert found["segmenter"]["miou_harmonic"] == 0
    assert found["unseen"]["segmenter"]["miou_unseen_classes"] is None  # no road in the held-out source
    apart = {"miou_seen_classes", "miou_unseen_classes", "miou_harmonic"}
    assert {name: value for name, value in found["segmenter"].items() if name not in apart} == plain["segmenter"]
    assert {name: content for name, content in outputs(artifacts).items() if name.endswith(".csv")} == tables
    line = "on seen classes 0.917, on unseen classes 0.000, harmonic mean 0.000"
    assert line in capsys.readouterr().out


def test_a_class_of_few_pixels_is_missed_once_they_are_enough(artifacts: Artifacts) -> None:
    assert measured(artifacts, min_presence=1 / 16)["labels"]["recall"] == pytest.approx(2 / 4)


def test_maps_are_those_counted_on_paper(artifacts: Artifacts) -> None:
    # First frame: 8 pixels of sky right, 8 of lawn taken for road. Second: 11 of lawn right, 1 of road taken for lawn.
    cam = measured(artifacts)["cam"]
    assert [cam[f"iou.{name}"] for name in ("lawn", "road", "sky")] == pytest.approx([11 / 20, 0, 1])
    assert cam["miou"] == pytest.approx((11 / 20 + 0 + 1) / 3)
    assert cam["recall"] == pytest.approx((11 / 19 + 0 + 1) / 3)


def test_pseudo_masks_are_those_counted_on_paper(artifacts: Artifacts) -> None:
    # First frame: 8 of sky and 4 of lawn right, 4 of lawn left open. Second: 11 of lawn right, 1 of road wrong.
    pseudo = measured(artifacts)["pseudo"]
    assert pseudo["miou"] == pytest.approx((15 / 16 + 0 + 1) / 3)
    assert pseudo["miou_strict"] == pytest.approx((15 / 20 + 0 + 1) / 3)
    assert pseudo["recall"] == pytest.approx((1 + 0 + 1) / 3)
    assert pseudo["coverage"] == pytest.approx(24 / 28)


def test_masks_of_rounds_are_measured_on_the_frames_that_they_were_made_for(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "rounds" not in measured(artifacts)
    # Truth and the mask of the first round: SKY SKY LAWN LAWN, and SKY SKY LAWN 255.
    artifacts.save_round_mask(2, "drive_000000", rows(SKY, SKY, LAWN, LAWN))
    artifacts.save_round_mask(3, "drive_000000", rows(SKY, LAWN, LAWN, LAWN))
    assert measured(artifacts)["rounds"] == {
        "1": {"miou": 1.0, "miou_strict": pytest.approx((1 + 1 / 2) / 2), "coverage": 3 / 4},
        "2": {"miou": 1.0, "miou_strict": 1.0, "coverage": 1.0},
        "3": {"miou": pytest.approx((1 / 2 + 2 / 3) / 2), "miou_strict": pytest.approx(7 / 12), "coverage": 1.0},
    }
    assert "eval: mIoU of the masks of training frames by round: 0.750, 1.000, 0.583, with" in capsys.readouterr().out


def test_the_model_is_measured_on_test_frames_only(artifacts: Artifacts) -> None:
    # It says lawn everywhere; the second frame has 11 pixels of lawn, 1 of road, 4 unknown.
    metrics = measured(artifacts)
    segmenter = metrics["segmenter"]
    assert segmenter["iou.lawn"] == pytest.approx(11 / 12)
    assert segmenter["iou.road"] == 0
    assert segmenter["iou.sky"] is None
    assert segmenter["miou"] == segmenter["miou_foreground"] == metrics["miou"] == pytest.approx(11 / 24)
    assert segmenter["recall"] == metrics["recall"] == pytest.approx(1 / 2)
    assert (segmenter["recall.lawn"], segmenter["recall.road"], segmenter["recall.sky"]) == (1, 0, None)
    assert segmenter["pixel_accuracy"] == pytest.approx(11 / 12)
    assert segmenter["fwiou"] == pytest.approx(11 / 12 * 11 / 12)


def test_sources_without_a_training_frame_stand_apart(artifacts: Artifacts) -> None:
    # All sky; nothing was named, so maps and mask are all 255; the model says lawn.
    unseen = measured(artifacts)["unseen"]
    assert unseen["labels"]["recall"] == 0
    assert unseen["labels"]["precision"] is None
    assert unseen["cam"]["miou"] == 0
    assert unseen["pseudo"]["miou"] is None
    assert (unseen["pseudo"]["miou_strict"], unseen["pseudo"]["coverage"]) == (0, 0)
    assert unseen["segmenter"]["pixel_accuracy"] == 0


def test_with_a_background_a_frame_without_classes_is_background(tmp_path: Path) -> None:
    artifacts = tiny_run.make(tmp_path, background=True)
    save_label_image(truth_of(artifacts, "other_000000"), rows(0, 0, 0, 0))
    metrics = measured(artifacts, background=("thing",))
    assert metrics["unseen"]["cam"]["iou.background"] == 1
    # 1 - max map joins: 0 and .25 where the largest map is 1 and .75, so nothing of the drive becomes background.
    assert metrics["cam"]["miou"] == pytest.approx((11 / 20 + 0 + 1) / 3)
    assert metrics["cam"]["iou.background"] is None


def test_weak_maps_lose_to_the_background(tmp_path: Path) -> None:
    artifacts = tiny_run.make(tmp_path, background=True)
    artifacts.save_maps("drive_000010", np.array([0]), np.full((1, 2, 2), 0.49))
    assert measured(artifacts, background=("thing",))["cam"]["iou.background"] == 0  # predicted there, never true
    artifacts.save_maps("drive_000010", np.array([0]), np.full((1, 2, 2), 0.51))
    assert measured(artifacts, background=("thing",))["cam"]["iou.background"] is None


def test_true_background_counts_as_an_error_where_there_is_no_background_class(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    save_label_image(truth_of(artifacts, "drive_000010"), rows(0, LAWN, LAWN, LAWN))
    by_id = '{"0": "background", "1": "lawn", "2": "road", "3": "sky"}'  # said on purpose
    (artifacts.root / "data/truth/classes.json").write_text(by_id)
    assert measured(artifacts)["segmenter"]["pixel_accuracy"] == pytest.approx(3 / 4)
    assert "write 'ignore' for them" in capsys.readouterr().out


@pytest.mark.parametrize("flip", [False, True])
def test_the_models_answers_are_those_of_its_network(artifacts: Artifacts, flip: bool) -> None:
    network = tiny_run.network().eval()
    tiny_run.save_segmenter(artifacts, network)
    image = torch.tensor(artifacts.load_image("drive_000010")).permute(2, 0, 1)[None] / 255
    pixels = (image - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    with torch.no_grad():
        scores = network(pixels)[:, 1:].softmax(1)
        mirrored = network(pixels.flip(-1))[:, 1:].softmax(1).flip(-1)
    answer = ((scores + mirrored) if flip else scores).argmax(1)[0].numpy() + 1
    truth = np.array(Image.open(truth_of(artifacts, "drive_000010")))
    right = (answer == truth)[truth != 255].mean()
    assert measured(artifacts, flip=flip)["segmenter"]["pixel_accuracy"] == pytest.approx(right)


def test_without_any_truth_metrics_are_null_and_pictures_are_there(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (artifacts.root / "data" / "truth").iterdir():
        path.unlink()
    metrics = measured(artifacts)
    del metrics["label_free"], metrics["unseen"]["label_free"]  # what needs no truth

    def values(part: dict[str, Any]) -> list[Any]:
        return [leaf for v in part.values() for leaf in (values(v) if isinstance(v, dict) else [v])]

    assert set(values(metrics)) == {None}
    assert len(list(artifacts.metrics_path("eval/pictures").iterdir())) == 2
    assert load_table(artifacts.metrics_path("eval/iou.csv"), ("class", "level", "iou")) == []
    assert "no key frame has a truth (" in capsys.readouterr().out


def test_without_unseen_sources_their_part_is_null(artifacts: Artifacts) -> None:
    artifacts.save_frames(tiny_run.FRAMES[:2])
    assert measured(artifacts)["unseen"] is None


def test_without_scores_only_average_precision_is_missing(artifacts: Artifacts) -> None:
    artifacts.scores_csv.unlink()
    labels = measured(artifacts)["labels"]
    assert labels["map"] is None
    assert labels["f1"] == pytest.approx(2 / 3)


def test_the_tables_hold_what_the_plots_show(artifacts: Artifacts) -> None:
    metrics = measured(artifacts)
    ious = load_table(artifacts.metrics_path("eval/iou.csv"), ("class", "level", "iou"))
    found = {(row["level"], row["class"]): float(row["iou"]) for row in ious}
    assert found["maps", "lawn"] == pytest.approx(metrics["cam"]["iou.lawn"])
    assert found["model, held out", "sky"] == metrics["unseen"]["segmenter"]["iou.sky"] == 0
    assert ("model", "sky") not in found  # null
    confusion = load_table(artifacts.metrics_path("eval/confusion.csv"), ("actual", "predicted", "share"))
    shares = {(row["actual"], row["predicted"]): float(row["share"]) for row in confusion}
    assert shares == {
        ("lawn", "lawn"): 1, ("lawn", "road"): 0, ("lawn", "sky"): 0,
        ("road", "lawn"): 1, ("road", "road"): 0, ("road", "sky"): 0,
    }  # fmt: skip
    joint = load_table(artifacts.metrics_path("eval/joint_false_negatives.csv"), ("class", "with", "share"))
    assert {(row["class"], row["with"]) for row in joint} >= {("lawn", "lawn")}


def test_counts_of_frames_add_up_to_the_measures(artifacts: Artifacts) -> None:
    metrics = measured(artifacts)
    frames = FrameCountsFile(artifacts.root).load_counts(tiny_run.CLASSES.names)
    assert [frame.frame for frame in frames] == ["drive_000000", "drive_000010", "other_000000"]
    for group, report in ((SEEN, metrics), (HELD_OUT, metrics["unseen"])):
        own = [frame for frame in frames if frame.group == group]
        for level, name in (("maps", "cam"), ("masks", "pseudo"), ("model", "segmenter")):
            summed = sum(frame.levels[level] for frame in own if level != "model" or frame.tested)
            known = without_open(summed) if level == "masks" else strict(summed)
            assert np.nan_to_num(intervals.miou(known)) == pytest.approx(report[name]["miou"] or 0)
            assert np.nan_to_num(intervals.mean_recall(known)) == pytest.approx(report[name]["recall"] or 0)
        assert intervals.miou(strict(sum(frame.levels["masks"] for frame in own))) == pytest.approx(
            report["pseudo"]["miou_strict"]
        )
        named = strict(sum(frame.levels["labels"] for frame in own))
        assert intervals.micro(intervals.f1)(named) == pytest.approx(report["labels"]["f1"])
    headline = load_json(artifacts.metrics_path("headline.json"))
    assert headline["miou"] == metrics["segmenter"]["miou"]
    assert headline["miou_held_out"] == metrics["unseen"]["segmenter"]["miou"]
    assert headline["coverage"] is None


def test_the_headline_has_the_coverage_that_crf_counted(artifacts: Artifacts) -> None:
    save_json(artifacts.metrics_path("crf.json"), {"coverage": 0.75})
    for path in (artifacts.root / "data" / "truth").iterdir():
        path.unlink()
    measured(artifacts)
    headline = load_json(artifacts.metrics_path("headline.json"))
    known = {name: value for name, value in headline.items() if value is not None}
    known.pop("miou_estimated", None)  # needs no truth, either
    assert known == {"coverage": 0.75}
    assert FrameCountsFile(artifacts.root).load_counts(tiny_run.CLASSES.names) == []


def test_pictures_are_of_both_groups_and_test_frames(artifacts: Artifacts) -> None:
    measured(artifacts, pictures=3)
    assert sorted(path.name for path in artifacts.metrics_path("eval/pictures").iterdir()) == [
        "drive_000010.png", "other_000000.png", "other_000010.png",
    ]  # fmt: skip


def test_no_picture_may_be_wanted(artifacts: Artifacts) -> None:
    assert measured(artifacts, pictures=0)["miou"] is not None
    assert list(artifacts.metrics_path("eval/pictures").iterdir()) == []


def test_two_runs_give_the_same_bytes_and_leave_nothing_of_the_first(artifacts: Artifacts) -> None:
    measured(artifacts, pictures=3)
    first = outputs(artifacts)
    (artifacts.metrics_path("eval/pictures") / "of_an_older_run.png").touch()
    measured(artifacts, pictures=3)
    assert outputs(artifacts) == first


def test_a_truth_with_ids_of_no_class_is_named_and_nothing_is_written(artifacts: Artifacts) -> None:
    save_label_image(truth_of(artifacts, "drive_000010"), rows(LAWN, 4, 77, SKY))
    with pytest.raises(DataError, match=r"drive_000010.png: expected ids 0 to 3 or 255, found \[4, 77\]"):
        measured(artifacts)
    assert outputs(artifacts) == {}


def test_truth_may_also_lie_beside_the_source_in_a_folder_of_its_own(artifacts: Artifacts) -> None:
    expected = measured(artifacts)
    beside = artifacts.root / tiny_run.params().extract.source / "truth"
    beside.parent.mkdir(parents=True)
    (artifacts.root / "data" / "truth").rename(beside)
    assert measured(artifacts) == expected


def test_a_truth_of_another_size_is_named(artifacts: Artifacts) -> None:
    save_label_image(truth_of(artifacts, "other_000000"), np.full((4, 5), SKY, np.uint8))
    with pytest.raises(DataError, match=r"other_000000.png: expected the size of its frame, 4x4, or one .*, found 5x4"):
        measured(artifacts)


def test_a_model_of_other_classes_is_refused(artifacts: Artifacts) -> None:
    config = artifacts.segmenter_folder / "config.json"
    config.write_text(config.read_text().replace("road", "river"))
    with pytest.raises(DataError, match="expected a model of the classes lawn, road, sky"):
        measured(artifacts)


def test_a_frame_without_labels_is_named(artifacts: Artifacts) -> None:
    artifacts.save_labels(["drive_000000"], tiny_run.CLASSES.names, np.ones((1, 3), bool))
    with pytest.raises(DataError, match="drive_000010.*dvc repro label"):
        measured(artifacts)


def test_a_server_that_is_down_costs_seconds_and_one_line_and_changes_nothing(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    measured(artifacts)
    untracked = outputs(artifacts)
    capfd.readouterr()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("WILDSEG_TRACKING", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    start = time.monotonic()
    measured(artifacts)
    assert time.monotonic() - start < 60  # by itself MLflow tries for minutes
    assert outputs(artifacts) == untracked
    lines = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("eval: ")]
    assert len(lines) == 1
    assert lines[0].startswith("tracking: this run is not logged to MLflow")


# Truth as people have it ---------------------------------------------------------------------------------------------


def count_from_0(artifacts: Artifacts) -> None:
    """Give the first class the id 0, the second 1, ... in all truths; 255 stays."""
    for path in (artifacts.root / "data/truth").glob("*.png"):
        ids = np.array(Image.open(path))
        save_label_image(path, np.where(ids == 255, 255, ids.astype(int) - 1).astype(np.uint8))


def write_map(artifacts: Artifacts, text: str) -> None:
    (artifacts.root / "data/truth/classes.json").write_text(text)


def all_classes(artifacts: Artifacts) -> None:
    """Have a truth for the fourth frame, too, so that all classes are in some truth, and there are enough of them."""
    save_label_image(truth_of(artifacts, "other_000010"), rows(LAWN, 2, 2, SKY))


@pytest.mark.parametrize("background", [(), ("thing",)])
def test_ids_that_start_at_0_are_refused_with_the_map_that_mends_it(
    background: tuple[str, ...], tmp_path: Path
) -> None:
    artifacts = tiny_run.make(tmp_path, background=bool(background))
    all_classes(artifacts)
    expected = measured(artifacts, background=background)
    count_from_0(artifacts)
    with pytest.raises(
        DataError, match="4 masks in .* hold the ids 0 to 2, and there are 3 classes.*ids seem to start at 0"
    ) as caught:
        measured(artifacts, background=background)
    line = str(caught.value)
    assert "\n" not in line
    remedy = line.split("classes.json: ")[1].split("}")[0] + "}"
    write_map(artifacts, remedy)
    assert measured(artifacts, background=background) == expected


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ('{"12": "lawn", "7": "road", "40": "sky", "0": "ignore"}', (12, 7, 40)),
        ('["sky", "road", "lawn"]', (2, 1, 0)),
        ('{"lawn": 200, "road": 100, "sky": 1}', (200, 100, 1)),
    ],
)
def test_ids_of_another_order_are_understood_by_their_map(
    text: str, order: tuple[int, ...], artifacts: Artifacts
) -> None:
    expected = measured(artifacts)
    for path in (artifacts.root / "data/truth").glob("*.png"):
        ids = np.array(Image.open(path))
        save_label_image(path, np.select([ids == 1, ids == 2, ids == 3], order, 255).astype(np.uint8))
    write_map(artifacts, text)
    assert measured(artifacts) == expected


def test_colours_are_measured_by_their_map(artifacts: Artifacts) -> None:
    expected = measured(artifacts)
    colours = np.zeros((256, 3), np.uint8)
    colours[[1, 2, 3, 255]] = (0, 128, 0), (128, 64, 128), (70, 130, 180), (0, 0, 0)
    for path in (artifacts.root / "data/truth").glob("*.png"):
        Image.fromarray(colours[np.array(Image.open(path))]).save(path)
    with pytest.raises(DataError, match="expected class ids, found . colours, #.*map each to a class in .*es.json"):
        measured(artifacts)
    map_ = "lawn:0,128,0::\nroad:128,64,128::\nsky:70,130,180::\nignore:0,0,0::\n"
    (artifacts.root / "data/truth/labelmap.txt").write_text(map_)
    assert measured(artifacts) == expected


@pytest.mark.parametrize(
    ("masks", "ids", "answer"),
    [
        (1, range(11), "refused"),
        (50, [0, 1, 2, 3, 4, 5, 7, 10], "refused"),  # from 0, and three classes are never seen
        (3, [0, 1, 2, 3, 4, 5, 7, 10], "questioned"),
        (50, [0, 1, 10], "questioned"),
        (50, [0, 1, 2, 3, 4, 5, 6, 7, 8], "fine"),  # background, and the last two classes are rare
        (50, range(12), "fine"),
        (50, range(1, 11), "fine"),  # no pixel of background
        (0, [], "fine"),
    ],
)
def test_what_masks_hold_is_weighed_where_there_is_a_background(
    masks: int, ids: range | list[int], answer: str
) -> None:
    pixels = np.zeros(256, int)
    pixels[[*ids, 255]] = 7
    names = [f"class {number}" for number in range(1, 12)]
    if answer == "refused":
        with pytest.raises(DataError, match="ids seem to start at 0"):
            check_id_offset(pixels, masks, names, Path("data/truth"), background=True)
    else:
        line = check_id_offset(pixels, masks, names, Path("data/truth"), background=True)
        assert (line is not None) == (answer == "questioned")


@pytest.mark.parametrize(("held", "shown"), [([0], "0 alone"), ([0, 255], "0 and 255 alone"), ([255], "255 alone")])
@pytest.mark.parametrize("background", [True, False])
def test_masks_that_hold_no_class_at_all_are_refused(held: list[int], shown: str, background: bool) -> None:
    pixels = np.zeros(256, int)
    pixels[held] = 7
    with pytest.raises(DataError, match=f"3 masks in data/truth hold {shown}, which is no class.*export one mask a fr"):
        check_id_offset(pixels, 3, ["sky", "road"], Path("data/truth"), background=background)


@pytest.mark.parametrize("shift", [0, 1])
def test_ids_from_0_that_end_with_unlabelled_show_by_what_agrees_with_them(shift: int) -> None:
    rng = np.random.default_rng(0)
    right = rng.integers(1, 12, (60, 80))  # of 11 classes
    pseudo = np.where(rng.random(right.shape) < 0.4, rng.integers(0, 12, right.shape), right)
    matrix = confusion_matrix(right - shift, pseudo, 12)
    line = id_offset_warning(
        miou(matrix), miou(raise_truth_ids(matrix)), [f"c{k}" for k in range(1, 12)], Path("data/truth")
    )
    assert (line is not None) == bool(shift)
    if line is not None:
        assert miou(raise_truth_ids(matrix)) == pytest.approx(miou(confusion_matrix(right, pseudo, 12)), abs=1e-12)
        assert "ids seem to start at 0; if so, write data/truth/classes.json: " in line
        assert '"0": "c1"' in line


def test_where_nothing_can_be_compared_no_id_is_doubted() -> None:
    for pair in ((float("nan"), 0.5), (0.1, float("nan")), (0.01, 0.1), (0.3, 0.5)):
        assert id_offset_warning(*pair, ["sky"], Path("data/truth")) is None


@pytest.mark.parametrize("unlabelled", ["before", "behind"])
def test_unlabelled_pixels_before_or_behind_all_classes_are_told_and_left_out_by_a_map(
    unlabelled: str, artifacts: Artifacts
) -> None:
    expected = measured(artifacts)
    for path in (artifacts.root / "data/truth").glob("*.png"):
        ids = np.array(Image.open(path))
        moved = np.where(ids == 255, 0, ids) if unlabelled == "before" else np.where(ids == 255, 3, ids - 1)
        save_label_image(path, moved.astype(np.uint8))
    with pytest.raises(DataError, match="hold the ids 0 to 3, and there are 3 classes.*if 0 shall not count") as caught:
        measured(artifacts)
    assert "seem to start at 0" not in str(caught.value)
    before, behind = re.findall(r"\{.*?\}", str(caught.value))
    write_map(artifacts, before if unlabelled == "before" else behind)
    assert measured(artifacts) == expected


def test_a_background_without_the_last_class_is_measured_and_questioned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts = tiny_run.make(tmp_path, background=True)  # 3 truths, too few to be sure
    for name in ("drive_000000", "drive_000010", "other_000000"):
        save_label_image(truth_of(artifacts, name), rows(0, LAWN, 2, 2))
    assert measured(artifacts, background=("thing",))["cam"]["miou"] is not None
    assert "none shows the last class, 'sky'; if the first class has the id 0, write" in capsys.readouterr().out


def test_a_background_that_all_classes_are_beside_is_no_matter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts = tiny_run.make(tmp_path, background=True)
    all_classes(artifacts)
    save_label_image(truth_of(artifacts, "other_000000"), rows(0, 0, LAWN, SKY))
    assert measured(artifacts, background=("thing",))["cam"]["miou"] is not None
    assert "id 0" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["000000.png", "000010.png"], "2 files in .* match no key frame; expected names such as drive_000000.png"),
        (["drive_0.png"], "found drive_0.png, which may be drive_000000.png; 'wildseg truth --rename'"),
        (["drive_000000.jpg"], "JPEG changes ids"),
    ],
)
def test_masks_of_no_frames_name_are_an_error_and_not_no_truth(
    names: list[str], told: str, artifacts: Artifacts
) -> None:
    folder = artifacts.root / "data/truth"
    for path in folder.iterdir():
        path.unlink()
    for name in names:
        (folder / name).touch()
    with pytest.raises(DataError, match=told):
        measured(artifacts)
    assert outputs(artifacts) == {}


def test_masks_that_fit_no_frame_beside_some_that_do_are_told(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    (artifacts.root / "data/truth/other_10.png").touch()
    measured(artifacts)
    assert "eval: 3 key frames have a truth; 1 files in" in capsys.readouterr().out


def test_numbered_masks_are_measured_in_a_folder_of_their_source(artifacts: Artifacts) -> None:
    expected = measured(artifacts)
    folder = artifacts.root / "data/truth"
    for path in list(folder.iterdir()):
        source, index = path.stem.rsplit("_", 1)
        (folder / source).mkdir(exist_ok=True)
        path.rename(folder / source / f"{int(index)}.png")
    assert measured(artifacts) == expected


def test_masks_of_other_frames_alone_are_told_and_nothing_is_measured(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = artifacts.root / "data/truth"
    for path in list(folder.iterdir()):
        path.rename(folder / f"older_{path.stem[-6:]}.png")
    assert measured(artifacts)["miou"] is None
    assert "no key frame has a truth: 2 masks are of other frames, such as" in capsys.readouterr().out


def test_a_truth_of_the_size_of_the_video_is_measured_and_told(
    artifacts: Artifacts, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = measured(artifacts)
    path = truth_of(artifacts, "drive_000000")
    save_label_image(path, np.array(Image.open(path)).repeat(3, 0).repeat(3, 1))
    assert measured(artifacts) == expected
    assert "eval: 1 truths of another size were resized to their frame" in capsys.readouterr().out


def test_in_an_experiments_copy_the_masks_that_stayed_behind_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    artifacts = tiny_run.make(tmp_path / ".dvc" / "tmp" / "exps" / "tmp1")
    (tmp_path / "data").mkdir()
    (artifacts.root / "data/truth").rename(tmp_path / "data/truth")
    assert measured(artifacts)["miou"] is None
    said = capsys.readouterr().out
    assert "no key frame has a truth in this experiment's copy of the project" in said
    assert f"{tmp_path / 'data' / 'truth'} has 3 untracked masks; 'git add' them, or" in said
