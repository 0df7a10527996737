"""`wildseg memory` and `cam.refine: memory` on a folder of a few frames."""

# ruff: noqa: F811 - fixtures are imported, and named as parameters
from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from tests.encoders.models import noise, save
from tests.stages.test_cam import CPU, PRESENT, project, values, with_cam  # noqa: F401 - fixtures
from wildseg.artifacts.memory import AboutBank, MemoryFiles
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cam.engine import activation_maps
from wildseg.cam.memory import Bank, Origin, Recollection
from wildseg.cam.refinement import Refinement
from wildseg.cli.main import main
from wildseg.core.errors import DataError, ParamsError
from wildseg.encoders import clip
from wildseg.execution.params import Params
from wildseg.methods.refine import memory as method
from wildseg.stages import memory
from wildseg.stages.cam import stage as cam
from wildseg.stages.cam.config import cam_config
from wildseg.stages.cam.regions import check_made_by, load_reader

NONE = "found none of at least 1% of a frame; lower cam.options.memory.clusters, then 'wildseg memory --rebuild'"
GAP = {"memory": {"gap_s": 0.3, "clusters": 6, "scale": 5.0}}  # frames are .2 seconds apart


@pytest.fixture
def chosen(values: Params) -> Params:
    return with_cam(values, refine="memory", options=GAP)


@pytest.fixture(autouse=True)
def cache(project: Artifacts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", str(project.root / "cache"))


def frames_of(project: Artifacts, number: int, test: tuple[int, ...] = ()) -> None:
    """Let the project have so many frames; those of `test` are not trained on."""
    frames = [Frame(f"drive_{i:06d}", "drive", i, i / 5, "test" if i in test else "train") for i in range(number)]
    for frame in frames:
        project.save_image(frame.name, noise((48, 64), frame.index))
    project.save_frames(frames)
    names = ("sky", "tree", "cement_road")
    project.save_labels([frame.name for frame in frames], names, np.tile(PRESENT, (number // 3 + 1, 1))[:number])


def bank_of(project: Artifacts) -> MemoryFiles:
    return MemoryFiles(project.root)


def build(project: Artifacts, values: Params, **asked: bool) -> bytes:
    memory.run(values, project, CPU, **{"grow": False, "rebuild": False, **asked})
    return bank_of(project).bank_npz.read_bytes()


def test_the_bank_has_the_large_regions_of_training_frames(
    project: Artifacts, chosen: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    frames_of(project, 4, test=(1,))
    build(project, chosen)
    bank = bank_of(project).load_bank()
    trained = ["drive_000000", "drive_000002", "drive_000003"]
    assert bank.frames == tuple(Origin(name, "drive", int(name[-1]) / 5) for name in trained)
    model = clip.load(chosen.clip.model, chosen.clip.pretrained, root=project.root)
    reader = load_reader(chosen.cam, model, project.root)
    for number, name in enumerate(trained):
        found = reader.read(project.load_image(name))
        large = found.areas >= 0.01  # with 48 patches all are
        np.testing.assert_array_equal(bank.keys[bank.owners == number], found.keys[large].astype(np.float16))
        np.testing.assert_array_equal(bank.values[bank.owners == number], found.values[large].astype(np.float16))
    output = capsys.readouterr().out
    assert f"memory: 3 frames read, {bank_of(project).bank_npz} has {len(bank)} regions of 3 frames" in output
    assert bank_of(project).bank_digest()[:12] in output


def test_a_bank_is_frozen_until_it_is_asked_to_grow_and_then_is_that_of_all_frames_at_once(
    project: Artifacts, chosen: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    first = build(project, chosen)
    frames_of(project, 5)
    capsys.readouterr()
    assert build(project, chosen) == first
    assert "memory: nothing done, the bank is frozen" in (output := capsys.readouterr().out)
    assert "2 training frames are not in it; --grow adds them" in output
    grown = build(project, chosen, grow=True)
    assert grown != first
    assert "memory: 2 frames read" in capsys.readouterr().out
    assert build(project, chosen, grow=True) == grown
    assert "it has all training frames" in capsys.readouterr().out
    assert build(project, chosen, rebuild=True) == grown
    assert "memory: 5 frames read" in (output := capsys.readouterr().out)
    assert ", 5 from the cache" in output
    bank_of(project).bank_npz.unlink()
    frames_of(project, 5, test=(0, 1))
    build(project, chosen)
    frames_of(project, 5)
    assert build(project, chosen, grow=True) == grown  # the first frames came last


def test_a_killed_build_goes_on_where_it_was(
    project: Artifacts, chosen: Params, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = build(project, chosen, rebuild=True)
    bank_of(project).bank_npz.unlink()
    monkeypatch.setenv("WILDSEG_CACHE", str(project.root / "other"))
    compute, left = memory.MemoryTask.compute, iter(range(2))

    def killed(task: Any, item: str) -> object:  # noqa: ANN401
        if next(left, None) is None:
            raise KeyboardInterrupt
        return compute(task, item)

    with monkeypatch.context() as patched:
        patched.setattr(memory.MemoryTask, "compute", killed)
        with pytest.raises(KeyboardInterrupt):
            build(project, chosen)
    assert not bank_of(project).bank_npz.exists()
    capsys.readouterr()
    assert build(project, chosen) == expected
    assert ", 2 from the cache" in capsys.readouterr().out


def test_frames_that_changed_or_went_are_named_and_change_nothing(
    project: Artifacts, chosen: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    first = build(project, chosen)
    frames_of(project, 3, test=(2,))
    project.save_image("drive_000001", noise((48, 64), 99))
    capsys.readouterr()
    assert build(project, chosen, grow=True) == first
    output = capsys.readouterr().out
    assert "1 of its frames look otherwise by now, such as 'drive_000001'; --rebuild reads them" in output
    assert "1 of its frames are no training frames any more, such as 'drive_000002'" in output


def test_of_too_many_regions_the_same_stay_whether_frames_came_at_once_or_not() -> None:
    rng = np.random.default_rng(0)
    regions = {f"f{i}": tuple(rng.random((4, n)).astype(np.float16) for n in (3, 2)) + (np.ones(4),) for i in range(6)}
    origins = {name: Origin(name, "drive", 0.0) for name in regions}
    whole = memory.assemble(origins, regions, 10)  # type: ignore[arg-type]
    assert len(whole) == 10
    assert [own.frame for own in whole.frames] == sorted(regions)
    backwards = memory.assemble(origins, dict(reversed(regions.items())), 10)  # type: ignore[arg-type]
    np.testing.assert_array_equal(backwards.keys, whole.keys)
    late = {name: own for name, own in regions.items() if name in ("f0", "f3")}
    early = memory.assemble(origins, {n: own for n, own in regions.items() if n not in late}, 10)  # type: ignore[arg-type]
    grown = memory.assemble(origins, memory.by_frame(early) | late, 10)  # type: ignore[arg-type]
    for name in ("keys", "values", "owners"):
        np.testing.assert_array_equal(getattr(grown, name), getattr(whole, name))


# Maps ----------------------------------------------------------------------------------------------------------------


def test_maps_are_refined_by_the_bank_without_the_frame_and_its_neighbours(project: Artifacts, chosen: Params) -> None:
    frames_of(project, 6)
    build(project, chosen)
    cam.run(chosen, project, CPU)
    model = clip.load(chosen.clip.model, chosen.clip.pretrained, root=project.root)
    texts = model.classifier(chosen.classes.phrases, ("a photo of {}.",))
    image, origin = project.load_image("drive_000003"), Origin("drive_000003", "drive", 0.6)
    plain = cam_config(with_cam(chosen, refine="none").cam)
    before = activation_maps(model, image, texts, (0, 2), 3, plain)
    regions = load_reader(chosen.cam, model, project.root).read(image)
    recollection = Recollection(bank_of(project).load_bank(), regions, origin, texts.numpy(), [0, 2], 3)
    assert set(recollection.bank.owners[recollection.bank.elsewhere(origin, 0.3)]) == {0, 1, 5}
    expected = Refinement(method, options={"gap_s": 0.3, "scale": 5.0}).refine_frame(before, image, recollection)
    _, maps = project.load_maps("drive_000003")
    np.testing.assert_allclose(maps, expected, atol=1e-3)  # stored in half precision
    assert abs(expected - before).max() > 0.05


def test_a_bank_that_holds_nothing_but_neighbours_leaves_all_maps_as_they_are(
    project: Artifacts, chosen: Params
) -> None:
    cam.run(with_cam(chosen, refine="none"), project, CPU)
    before = {path.name: path.read_bytes() for path in project.cams_folder.iterdir()}
    near = with_cam(chosen, options={"memory": {"gap_s": 2.0, "clusters": 6}})
    build(project, near)
    cam.run(near, project, CPU)
    assert {path.name: path.read_bytes() for path in project.cams_folder.iterdir()} == before


def test_maps_are_computed_again_when_the_bank_changes_and_only_then(
    project: Artifacts, chosen: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    build(project, chosen)
    for said in ("", ", 3 from the cache"):
        capsys.readouterr()
        cam.run(chosen, project, CPU)
        assert f"without any{said}\n" in capsys.readouterr().out
    frames_of(project, 4)
    build(project, chosen)
    capsys.readouterr()
    cam.run(chosen, project, CPU)
    assert ", 3 from the cache" in capsys.readouterr().out  # of more video, the new frame alone is computed
    build(project, chosen, grow=True)
    capsys.readouterr()
    cam.run(chosen, project, CPU)
    assert "from the cache" not in capsys.readouterr().out
    cam.run(with_cam(chosen, refine="none"), project, CPU)
    build(project, chosen, rebuild=True)
    bank_of(project).bank_npz.write_bytes(b"")
    capsys.readouterr()
    cam.run(with_cam(chosen, refine="none"), project, CPU)  # which does not read it
    assert ", 4 from the cache" in capsys.readouterr().out


def test_a_bank_of_other_settings_or_another_model_is_one_line_for_both(project: Artifacts, chosen: Params) -> None:
    build(project, chosen)
    other = with_cam(chosen, options={"memory": {"clusters": 7}})
    line = "expected a bank made with cam.options.memory.clusters 7, found one with 6; 'wildseg memory --rebuild'"
    finer = with_cam(chosen, max_side=32)
    of_side = "expected a bank made with cam.max_side 32, found one with None; 'wildseg memory --rebuild'"
    folder = project.root / "another"
    folder.mkdir()
    name, weights = save(folder, "tiny", seed=1)
    model = replace(chosen, clip=replace(chosen.clip, model=name, pretrained=f"another/{Path(weights).name}"))
    of_model = "expected a bank made by the model of the section clip, found one of another; 'wildseg memory --rebuild'"
    for changed, expected in ((other, line), (finer, of_side), (model, of_model)):
        for run in (cam.run, lambda *given: memory.run(*given, grow=True, rebuild=False)):
            with pytest.raises(DataError, match=re.escape(expected)):
                run(changed, project, CPU)
    memory.run(other, project, CPU, grow=False, rebuild=True)
    cam.run(other, project, CPU)
    looser = with_cam(other, options={"memory": {"clusters": 7, "neighbours": 3, "own": 0.9}})
    cam.run(looser, project, CPU)  # what does not decide what the bank holds may change


def test_without_a_bank_or_with_an_empty_one_nothing_is_computed(project: Artifacts, chosen: Params) -> None:
    missing = "expected a bank of regions for cam.refine: memory, found none; 'wildseg memory' builds it"
    with pytest.raises(DataError, match=re.escape(missing)):
        cam.run(chosen, project, CPU)
    build(project, chosen)
    full = bank_of(project).load_bank()
    none = replace(full, keys=full.keys[:0], values=full.values[:0], areas=full.areas[:0], owners=full.owners[:0])
    bank_of(project).save_bank(none, bank_of(project).load_about_bank())
    with pytest.raises(DataError, match=re.escape(f"expected regions of 3 frames, {NONE}")):
        cam.run(chosen, project, CPU)
    assert not project.cams_folder.exists()


def test_frames_in_parts_that_are_all_too_small_leave_the_old_bank(project: Artifacts, chosen: Params) -> None:
    before = build(project, chosen)
    for number in range(3):
        project.save_image(f"drive_{number:06d}", noise((128, 192), number))  # 384 patches, of which 4 are 1%
    parts = with_cam(chosen, options={"memory": {"clusters": 380}})
    with pytest.raises(DataError, match=re.escape(f"bank.npz: expected regions of 3 frames, {NONE}")):
        build(project, parts, rebuild=True)
    assert bank_of(project).bank_npz.read_bytes() == before


def test_a_bank_of_other_files_or_libraries_of_the_second_encoder_says_which(project: Artifacts) -> None:
    files = bank_of(project)
    made = {"encoder": "timm/one", "files": {"encoder_weights": ["ab"]}, "libraries": {"timm": "1.0", "other": "2"}}
    bank = Bank(*(np.zeros((1, 2), np.float16),) * 2, np.ones(1, np.float32), np.zeros(1, np.int32), ())
    files.save_bank(replace(bank, frames=(Origin("a", "drive", None),)), AboutBank(made, {"a": "00"}))
    for changed, line in (
        ({"libraries": {"timm": "1.1", "other": "2"}},
         "expected a bank made with the installed libraries, found one of other versions (timm 1.0 -> 1.1); "),
        ({"files": {"encoder_weights": ["cd"]}},
         "expected a bank made with the files of cam.options.memory.encoder as they are, found one of others; "),
    ):  # fmt: skip
        with pytest.raises(DataError) as caught:
            check_made_by(files, made | changed)
        assert str(caught.value) == f"{files.bank_npz}: {line}'wildseg memory --rebuild' makes a new one"
    check_made_by(files, made)


def test_a_frame_that_failed_before_does_not_keep_a_bank_from_growing(
    project: Artifacts, chosen: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    frames_of(project, 4)
    path = project.frame_path("drive_000001")
    path.write_bytes(b"")
    patient = with_cam(chosen, max_failures=0.25)
    first = build(project, patient)
    capsys.readouterr()
    assert build(project, patient, grow=True) == first
    assert "memory: 0 frames read" in (output := capsys.readouterr().out)
    assert ", 1 quarantined" in output
    frames_of(project, 5)
    path.write_bytes(b"")
    assert build(project, patient, grow=True) != first
    assert "memory: 1 frames read" in capsys.readouterr().out


def test_without_training_frames_there_is_no_bank(project: Artifacts, chosen: Params) -> None:
    frames_of(project, 3, test=(0, 1, 2))
    with pytest.raises(DataError, match="expected key frames of the split train, found none"):
        build(project, chosen)


def test_maps_of_files_and_of_a_trained_network_have_no_regions(project: Artifacts, chosen: Params) -> None:
    with pytest.raises(ParamsError, match="memory needs the regions of the image-text model"):
        cam.run(with_cam(chosen, method="classifier"), project, CPU)
    with pytest.raises(ParamsError, match=r"given takes maps from files as they are; found 'memory'"):
        cam.run(with_cam(chosen, method="given"), project, CPU)


def test_growing_and_rebuilding_at_once_is_a_mistake() -> None:
    answer = CliRunner().invoke(main, ["memory", "--grow", "--rebuild"])
    assert answer.exit_code == 2
    assert "expected --grow or --rebuild, found both" in answer.output
