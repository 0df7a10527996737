"""What eval measures without truth, on the frames of 4x4 pixels whose model answers lawn everywhere."""

from dataclasses import replace

import numpy as np
import pytest

from tests.report.test_page import Read
from tests.stages import tiny_run
from tests.stages.tiny_run import LAWN, SKY, measured, rows
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.execution.runtime import Runtime
from wildseg.metrics.expected_iou import TEMPERATURES
from wildseg.metrics.groups import split_groups
from wildseg.stages.eval import label_free
from wildseg.stages.eval.label_free_task import LabelFreeTask

CPU = Runtime(1, "cpu")


def test_measures_are_those_counted_on_paper(artifacts: Artifacts) -> None:
    # Of seen sources the model was not trained on the second frame: mask, maps and model say lawn everywhere.
    found = measured(artifacts)
    seen, held_out = found["label_free"], found["unseen"]["label_free"]
    assert (seen["frames"], held_out["frames"]) == (1, 2)
    for name in ("masks_model", "maps_model", "flip", "scale"):
        assert seen[f"{name}.pixels"] == seen[f"{name}.miou"] == 1
    assert seen["neighbours.miou"] is None  # the only other frame of its video comes before it, and was trained on
    # The masks of held-out sources: nothing decided, and sky; the third frame has no map at all, the fourth one of sky.
    assert held_out["masks_model.pixels"] == held_out["masks_model.miou"] == held_out["maps_model.pixels"] == 0
    assert held_out["neighbours.pixels"] == 1
    assert seen["along_flow.miou"] is None
    # A logit of 5 against 0 and 0. Right everywhere, so that the sharpest temperature suits best; wrong, the flattest.
    for one, temperature in ((seen, TEMPERATURES[0]), (held_out, TEMPERATURES[-1])):
        probability = np.exp(5 / temperature) / (np.exp(5 / temperature) + 2)
        assert one["temperature"] == temperature
        others = 0 if 1 - probability < 2e-3 else 2  # classes that have pixels in expectation
        assert one["estimated_miou"] == pytest.approx(probability / (1 + others), abs=1e-4)
        assert one["estimated_miou_low"] is None  # of fewer than five stretches
        assert one["confident"] == 1


def test_flicker_is_counted_where_both_frames_show_the_same(artifacts: Artifacts) -> None:
    artifacts.save_image("other_000010", artifacts.load_image("other_000000"))
    assert measured(artifacts)["unseen"]["label_free"]["along_flow.pixels"] == 1


def test_measures_against_truth_do_not_change(artifacts: Artifacts) -> None:
    found, without = measured(artifacts), measured(artifacts, label_free_frames=0)
    assert without["label_free"]["frames"] == 0
    assert without["label_free"]["estimated_miou"] is None
    for metrics in (found, without):
        del metrics["label_free"], metrics["unseen"]["label_free"]
    assert found == without


def test_without_truth_the_same_is_measured_and_shown(artifacts: Artifacts, capsys: pytest.CaptureFixture[str]) -> None:
    before = measured(artifacts)
    for path in (artifacts.root / "data" / "truth").iterdir():
        path.unlink()
    after = measured(artifacts)
    assert after["miou"] is None
    assert after["label_free"] == before["label_free"]
    assert after["unseen"]["label_free"] == before["unseen"]["label_free"]
    estimate = after["label_free"]["estimated_miou"]
    assert f", estimated without truth {estimate:.3f}" in capsys.readouterr().out
    text = Read(artifacts.report_page.read_text(encoding="utf-8")).text
    assert f"Model, estimated mIoU{estimate:.3f}" in text
    assert "Frame and mirror image" in text


def test_a_second_table_of_labels_is_compared(artifacts: Artifacts, capsys: pytest.CaptureFixture[str]) -> None:
    assert "labels.kappa" not in measured(artifacts)["label_free"]
    path = artifacts.root / "data" / "labels" / "given.csv"
    path.write_text('Frame,Labels\ndrive_000000,"road,sky"\ndrive_000010,"lawn,sky"\n')
    found = measured(artifacts)
    # Three of three, and two of three classes: of six entries three, and four, are present.
    chance = 3 / 6 * 4 / 6 + 3 / 6 * 2 / 6
    assert found["label_free"]["labels.equal"] == pytest.approx(5 / 6)
    assert found["label_free"]["labels.kappa"] == pytest.approx((5 / 6 - chance) / (1 - chance))
    assert "labels.kappa" not in found["unseen"]["label_free"]
    path.write_text('Frame,Labels\ndrive_000000,"road,sky"\ndrive_000010,"lawn"\n')  # as label.method: given reads it
    assert "labels.kappa" not in measured(artifacts)["label_free"]
    path.write_text('Frame,Labels\ndrive_000000,"lava"\n')
    capsys.readouterr()
    assert "labels.kappa" not in measured(artifacts)["label_free"]
    assert "eval: labels are not compared with eval.second_labels: " in (line := capsys.readouterr().out)
    assert "given.csv, frame 'drive_000000': expected classes of params.yaml, found 'lava'" in line


def test_frames_are_spread_over_both_groups_and_their_neighbours_are_predicted() -> None:
    frames = []
    for source in ("drive", "other"):
        for index in range(12):
            split = "test" if source == "other" or index % 6 > 3 else "train"
            frames.append(Frame(f"{source}_{index:06d}", source, index, index / 2, split))
    groups = split_groups(frames, tiny_run.CLASSES.names, background=False)
    chosen = label_free.sample(groups, 8)
    places = [(frame.source, frame.index) for frame in chosen.frames]
    assert places == [("drive", n) for n in (4, 5, 10, 11)] + [("other", n) for n in (1, 4, 7, 10)]
    # The frame after the sixth of the drive was trained on, and its twelfth is the last.
    after = {(frame.source, frame.index): other.index for frame, other in chosen.after.items()}
    assert after == {("drive", 4): 5, ("drive", 10): 11} | {("other", n): n + 1 for n in (1, 4, 7, 10)}
    assert len(chosen.predicted) == 12


def test_where_all_frames_were_trained_on_they_are_measured_all_the_same() -> None:
    frames = [replace(frame, split="train") for frame in tiny_run.FRAMES[:2]]
    groups = split_groups(frames, tiny_run.CLASSES.names, background=False)
    assert label_free.sample(groups, 6).frames == frames


def test_a_large_frame_is_measured_on_a_grid_of_its_pixels(
    artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wildseg.stages.eval.label_free_task.PIXELS", 4)
    artifacts.save_mask("drive_000010", rows(SKY, LAWN, SKY, LAWN))
    task = LabelFreeTask(artifacts.root, tiny_run.CLASSES.names, tiny_run.params().eval, artifacts.root)
    task.setup("cpu")
    expected = np.array(task.compute("drive_000010").record["expected"]) / 1000
    np.testing.assert_allclose(expected[:, :-1].sum(1), 16 * (1 + expected[:, 8:12].sum(1) / 16), rtol=1e-3)
    assert expected[:, -1].argmin() == 0  # every second row and column: lawn alone
    assert expected[0, 1] == pytest.approx(16, abs=0.01)
