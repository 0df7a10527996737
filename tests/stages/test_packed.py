"""All stages on frames in shards: the results are those of loose frames, whatever was killed or known before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.encoders.models import save
from tests.frames.clips import write_clip
from tests.shared import shipped_content
from wildseg.artifacts import unpack
from wildseg.artifacts.project import Artifacts
from wildseg.artifacts.shards import begins_shard
from wildseg.cli import stages as commands
from wildseg.core.errors import DataError
from wildseg.execution import params as parameters
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.segment.augment import augmentation
from wildseg.segment.data import Batches, Pairs
from wildseg.stages import crf, extract
from wildseg.stages.cam import stage as cam
from wildseg.training.loader import stream

ROOT = Path(__file__).parents[2]
CPU = Runtime(1, "cpu")
STAGES = ("extract", "label", "cam", "crf", "train", "eval")
FRAMES = 12
# A name for the video so that a shard begins inside it.
DRIVE = next(f"drive{n}" for n in count() if any(begins_shard(f"drive{n}_{i:06d}") for i in range(4, 8)))
CLASSES = {"sky": ["sky", "clouds"], "tree": "tree", "cement_road": "cement road"}
SMALL = {
    "extract": {"source": "raw", "fps": None, "method": "uniform", "duplicate_bits": None, "held_out": [],
                "options": {"uniform": {"every_s": 0.05}}, "val": 0.2, "stretch_s": None},
    "label": {"threshold": 0.5, "fallback": "argmax", "options": {"clip": {"tiles": 1}}},
    "cam": {"scales": [1.0]},
    "crf": {"min_confidence": 0.3},
    "train": {"encoder": "resnet18", "options": {"unet": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]}},
              "steps": 3, "batch_size": 2, "crop": 32, "validate_every": 2, "checkpoint_every": 1},
    "eval": {"pictures": 1},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _with_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WILDSEG_CACHE", raising=False)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Params]:
    """A folder with a video and a small CLIP, and parameters for them."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "raw").mkdir()
    write_clip(folder / "raw" / f"{DRIVE}.mp4", FRAMES, rate=10)
    name, weights = save(folder, "tiny")
    content = shipped_content()
    for section, values in SMALL.items():
        content[section] |= values
    content |= {"classes": CLASSES, "background": []}
    content["clip"] |= {"model": name, "pretrained": weights}
    return folder / "raw", parameters.parse(content)


def project(folder: Path, raw: Path) -> Artifacts:
    folder.mkdir()
    (folder / "raw").symlink_to(raw)
    return Artifacts(folder)


def run(artifacts: Artifacts, params: Params, *stages: str, packed: bool, workers: int = 1) -> Artifacts:
    params = replace(params, extract=replace(params.extract, shard_above=3 if packed else FRAMES))
    for stage in stages or STAGES:
        commands.load(stage).run(params, artifacts, Runtime(workers, "cpu"))
    return artifacts


def outputs(artifacts: Artifacts) -> dict[str, bytes]:
    """Every file that the stages left."""
    folders = (artifacts.data, artifacts.metrics, artifacts.root / "models")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(artifacts.root)): path.read_bytes() for path in files}


def per_frame(artifacts: Artifacts) -> dict[str, list[bytes]]:
    """The four files of each frame, wherever they lie."""
    readers: list[Callable[[str], bytes]] = [artifacts.frame_bytes, artifacts.maps_bytes]
    readers += [artifacts.mask_bytes, artifacts.confidence_bytes]
    return {frame.name: [read(frame.name) for read in readers] for frame in artifacts.load_frames()}


@pytest.fixture(scope="module")
def finished(raw: tuple[Path, Params], tmp_path_factory: pytest.TempPathFactory) -> tuple[Artifacts, Artifacts]:
    """The same pipeline on loose frames and on packed ones."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WILDSEG_TRACKING", "off")
        loose = run(project(folder / "loose", raw[0]), raw[1], packed=False)
        return loose, run(project(folder / "packed", raw[0]), raw[1], packed=True)


def test_labels_maps_masks_weights_and_metrics_are_the_same_in_both_forms(
    finished: tuple[Artifacts, Artifacts],
) -> None:
    loose, packed = finished
    assert len(per_frame(loose)) == FRAMES
    assert per_frame(packed) == per_frame(loose)
    small = {name: content for name, content in outputs(loose).items() if not Path(name).stem.startswith(DRIVE)}
    large = {name: content for name, content in outputs(packed).items() if not name.endswith(".zip")}
    pictures = ("metrics/eval/pictures", "metrics/report/frames")  # loose in both forms
    large = {name: content for name, content in large.items() if not name.startswith(pictures)}
    for found in (small, large):  # the parameters differ by what decides about shards
        assert [found.pop(name) for name in list(found) if name.startswith("metrics/report/runs")]
    assert large == small
    assert "models/segmenter/model.safetensors" in small


def test_every_output_of_small_files_is_in_the_form_of_data_frames(finished: tuple[Artifacts, Artifacts]) -> None:
    for artifacts, loose, shards in ((finished[0], FRAMES, 0), (finished[1], 0, 2)):
        for name, suffix in (("frames", "jpg"), ("cams", "npz"), ("masks", "png"), ("masks/confidence", "png")):
            folder = artifacts.data / name
            assert (len(list(folder.glob(f"*.{suffix}"))), len(list(folder.glob("*.zip")))) == (loose, shards), name


def test_a_second_run_served_from_the_cache_writes_the_same_shards(
    finished: tuple[Artifacts, Artifacts], raw: tuple[Path, Params], capsys: pytest.CaptureFixture[str]
) -> None:
    packed = finished[1]
    before = outputs(packed)
    run(packed, raw[1], packed=True)
    assert f"crf: {FRAMES} frames" in (said := capsys.readouterr().out)
    assert said.count(f"{FRAMES} from the cache") == 4  # label, cam, crf, pictures of the report
    assert outputs(packed) == before


def test_a_limit_that_is_not_passed_leaves_frames_loose_and_null_always_does(
    raw: tuple[Path, Params], tmp_path: Path
) -> None:
    artifacts = project(tmp_path / "project", raw[0])
    for limit, packed in ((FRAMES, False), (FRAMES - 1, True), (None, False), (0, True)):
        extract.run(replace(raw[1], extract=replace(raw[1].extract, shard_above=limit)), artifacts, CPU)
        assert artifacts.frames_are_packed() is packed
        assert len(list(artifacts.frames_folder.glob("*.jpg"))) == (0 if packed else FRAMES)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("stage", ["extract", "cam", "crf"])
@pytest.mark.parametrize("shard", [0, 1])
def test_a_stage_killed_while_it_packs_ends_with_the_same_bytes_when_it_is_run_again(
    stage: str, shard: int, finished: tuple[Artifacts, Artifacts], raw: tuple[Path, Params],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    shutil.copytree(finished[1].root, tmp_path / "project", symlinks=True)
    artifacts = Artifacts(tmp_path / "project")
    before = outputs(artifacts)
    left = shard
    replace_file = Path.replace

    def killing(path: Path, target: Path) -> object:
        nonlocal left
        left -= target.suffix == ".zip"
        if left < 0:
            raise _Killed
        return replace_file(path, target)

    monkeypatch.setattr(Path, "replace", killing)
    with pytest.raises(_Killed):
        run(artifacts, raw[1], stage, packed=True)
    monkeypatch.undo()
    monkeypatch.setenv("WILDSEG_TRACKING", "off")
    assert outputs(artifacts) != before
    run(artifacts, raw[1], stage, packed=True)
    assert outputs(artifacts) == before


def test_two_workers_write_the_same_shards_as_one(
    finished: tuple[Artifacts, Artifacts], raw: tuple[Path, Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_CACHE", "off")
    shutil.copytree(finished[1].root, tmp_path / "project", symlinks=True)
    artifacts = Artifacts(tmp_path / "project")
    before = outputs(artifacts)
    run(artifacts, raw[1], "crf", packed=True, workers=2)
    assert outputs(artifacts) == before


def test_loader_processes_feed_the_same_batches_from_shards(finished: tuple[Artifacts, Artifacts]) -> None:
    batches = [
        Batches(Pairs([*per_frame(artifacts)], artifacts.load_image, artifacts.load_mask),
                augmentation(32, (0.8, 1.2), 0.5, 0.2), batch_size=3, seed=0)
        for artifacts in finished
    ]  # fmt: skip
    here = list(stream(batches[0], 0, 6, workers=0))
    for one, same in zip(here, stream(batches[1], 0, 6, workers=2), strict=True):
        assert torch.equal(one["image"], same["image"])
        assert torch.equal(one["mask"], same["mask"])


def test_a_damaged_shard_stops_a_stage_with_the_command_that_helps(
    finished: tuple[Artifacts, Artifacts], raw: tuple[Path, Params], tmp_path: Path
) -> None:
    shutil.copytree(finished[1].root, tmp_path / "project", symlinks=True)
    artifacts = Artifacts(tmp_path / "project")
    shard = min(artifacts.cams_folder.glob("*.zip"))
    shard.write_bytes(shard.read_bytes()[:-30])
    with pytest.raises(DataError, match=r"\(in drive.*\.zip: it is no shard, or truncated\); run 'dvc repro cam'$"):
        crf.run(raw[1], artifacts, CPU)
    shard = min(artifacts.frames_folder.glob("*.zip"))
    shard.unlink()
    with pytest.raises(DataError, match=r"\.jpg: expected a file .*run 'dvc repro extract'$"):
        cam.run(raw[1], artifacts, CPU)


# Looking at frames ---------------------------------------------------------------------------------------------------


def test_unpacked_files_are_those_of_loose_frames(
    finished: tuple[Artifacts, Artifacts], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loose, packed = finished
    for number, artifacts in enumerate(finished):
        unpack.unpack(artifacts, [], tmp_path / str(number))
        assert capsys.readouterr().out == f"unpack: {4 * FRAMES} files of {FRAMES} frames in {tmp_path / str(number)}\n"
        for path in (tmp_path / str(number)).rglob("*.*"):
            same = loose.data / path.relative_to(tmp_path / str(number))
            assert path.read_bytes() == same.read_bytes()
        assert len(list((tmp_path / str(number)).rglob("*.*"))) == 4 * FRAMES
    one = f"{DRIVE}_000003"
    unpack.unpack(packed, [one], tmp_path / "one")
    files = {str(path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*.*")}
    assert files == {f"frames/{one}.jpg", f"cams/{one}.npz", f"masks/{one}.png", f"masks/confidence/{one}.png"}


def test_what_a_stage_has_not_made_is_left_out_and_what_is_broken_is_told(
    finished: tuple[Artifacts, Artifacts], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished[1].root, tmp_path / "project", symlinks=True)
    artifacts = Artifacts(tmp_path / "project")
    shutil.rmtree(artifacts.masks_folder)
    first, second = sorted(artifacts.cams_folder.glob("*.zip"))
    second.unlink()
    unpack.unpack(artifacts, [], tmp_path / "out")
    kept = len(list((tmp_path / "out" / "cams").iterdir()))
    assert 0 < kept < FRAMES
    assert capsys.readouterr().out.startswith(f"unpack: {FRAMES + kept} files of {FRAMES} frames in ")
    first.write_bytes(first.read_bytes()[:-9])
    with pytest.raises(DataError, match="it is no shard, or truncated.*; run 'dvc repro cam'"):
        unpack.unpack(artifacts, [], tmp_path / "out")


def test_a_frame_that_is_not_there_and_a_folder_of_dvc_are_refused(
    finished: tuple[Artifacts, Artifacts], tmp_path: Path
) -> None:
    packed: Any = finished[1]
    for name in ("drive_999999", "../frames", "/etc/passwd"):
        with pytest.raises(DataError, match=r"there is no such key frame; see .*frames\.csv"):
            unpack.unpack(packed, [name], tmp_path / "out")
    for folder in (packed.data, packed.data / "frames" / "x", packed.root / "metrics" / ".." / "data"):
        with pytest.raises(DataError, match=r"--into .*: expected a folder outside of .*data"):
            unpack.unpack(packed, [], folder)
    assert not (tmp_path / "out").exists()
