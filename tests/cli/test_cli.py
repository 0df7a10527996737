"""The command line: what it offers, one line and exit code 1 for a person's mistake, a traceback for a bug."""

from __future__ import annotations

import errno
import importlib
import re
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from tests.execution.pool import no_setup
from tests.programs import Answer, python, wildseg
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cli import main as cli
from wildseg.core import lookup
from wildseg.core.errors import DataError, WildsegError
from wildseg.core.lookup import METHODS
from wildseg.execution import out_of_memory, params
from wildseg.execution.engines.local import LocalPool

ROOT = Path(__file__).parents[2]
PARAMS = (ROOT / "params.yaml").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the default params.yaml and nothing else, in which commands run."""
    (tmp_path / "params.yaml").write_text(PARAMS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in ("WILDSEG_WORKERS", "WILDSEG_DEVICE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def error_line(result: Result) -> str:
    """The one line of a command that failed because of a person's mistake."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    (line,) = result.stderr.splitlines()
    assert line.startswith("wildseg: error: ")
    return line.removeprefix("wildseg: error: ")


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stage crf raise `error`."""

    def stage(*_: object) -> None:
        raise error

    monkeypatch.setattr(importlib.import_module("wildseg.stages.crf"), "run", stage)


# What it offers ------------------------------------------------------------------------------------------------------


def test_help_lists_every_stage_in_the_order_of_the_pipeline_and_what_it_does() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert set(cli.STAGES) <= set(re.findall(r"^  (\w+)", result.output, re.MULTILINE))
    for description in cli.STAGES.values():
        assert " ".join(description.split()[:4]) in result.output


@pytest.mark.parametrize("command", cli.main.list_commands(click.Context(cli.main)))
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_has_help(command: str, option: str) -> None:
    result = run(command, option)
    assert result.exit_code == 0
    assert len(result.output.split("Options:")[0]) > 60


def test_every_stage_of_the_pipeline_has_a_command_and_a_file() -> None:
    beside = {"weak", "memory"}  # a stage of data/weak/dvc.yaml; a bank, which is built when it is asked for
    stages = lookup.PACKAGE / "stages"
    files = {path.stem: path.read_text() for path in stages.glob("[a-z]*.py")}
    files |= {path.parent.name: path.read_text() for path in stages.glob("*/stage.py")}
    run = {name for name, text in files.items() if "\ndef run(params: Params, artifacts: Artifacts, runtime" in text}
    assert set(cli.STAGES) | beside <= set(files)
    assert run <= set(cli.STAGES) | beside
    assert set(cli.STAGES) <= set(cli.main.list_commands(click.Context(cli.main)))


def test_the_version_is_told() -> None:
    assert re.search(r"\d+\.\d+", run("--version").output)


def test_methods_lists_every_method_by_its_parameter_with_a_description() -> None:
    output = run("methods").output
    for section, key, package, *_ in METHODS:
        assert f"{section}.{key}\n" in output
        for name in (*lookup.available(package), *lookup.available(lookup.DETECTORS)):
            assert re.search(rf"^  {name} +\S.{{20}}", output, re.MULTILINE)


def test_the_command_line_can_be_started_as_a_module(tmp_path: Path) -> None:
    assert wildseg("--help", cwd=tmp_path).code == 0


# A person's mistakes -------------------------------------------------------------------------------------------------


def test_an_unknown_command_is_refused() -> None:
    result = run("extarct")
    assert result.exit_code == 2
    assert "No such command 'extarct'" in result.stderr


@pytest.mark.parametrize("stage", cli.STAGES)
def test_a_stage_without_params_says_where_to_run(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert error_line(run(stage)).startswith("params.yaml: expected the parameters of the pipeline")


@pytest.mark.parametrize("stage", cli.STAGES)
def test_a_misspelt_parameter_is_told_before_anything_is_loaded_or_removed(stage: str, folder: Path) -> None:
    (folder / "params.yaml").write_text(PARAMS.replace("\n  sharpen:", "\n  sharpn:"))
    precious = folder / "data" / "frames" / "a_000001.jpg"
    precious.parent.mkdir(parents=True)
    precious.write_bytes(b"precious")
    assert error_line(run(stage)) == "crf.sharpn: there is no such parameter; did you mean 'sharpen'?"
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize("stage", cli.STAGES)
def test_a_stage_whose_input_is_missing_says_so(stage: str, folder: Path) -> None:
    line = error_line(run(stage))
    assert line.startswith("data/raw/field: " if stage == "extract" else "data/")
    assert "expected" in line
    assert len(line) < 160


@pytest.mark.parametrize("stage", cli.STAGES)
def test_workers_that_mean_nothing_are_refused_by_every_stage(
    stage: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_WORKERS", "many")
    assert error_line(run(stage)) == "WILDSEG_WORKERS: expected a positive whole number, found 'many'"


def test_a_message_of_several_lines_is_one_line_and_keeps_its_spaces(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(DataError("my  video.mp4: broken:\n   no packets\n"), monkeypatch)
    assert error_line(run("crf")) == "my  video.mp4: broken: no packets"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (WildsegError("expected a, found b"), "expected a, found b"),
        (OSError(errno.ENOSPC, "No space left on device", "data/masks/a.png"),
         "data/masks/a.png: No space left on device; make room, then run the same again"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded; make room, then run the same again"),
        (PermissionError(errno.EACCES, "Permission denied", "data"), "data: Permission denied"),
        (OSError("broken stream"), "broken stream"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_one_line_that_says_where(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    raising(error, monkeypatch)
    assert error_line(run("crf")) == line


def test_stopping_by_hand_is_no_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(KeyboardInterrupt(), monkeypatch)
    result = run("crf")
    assert result.exit_code == 130
    assert result.stderr == "wildseg: stopped by Ctrl-C; run the same again to go on\n"


# A full disk, from outside -------------------------------------------------------------------------------------------


def with_small_files(limit: int, *arguments: str, cwd: Path, **environment: str) -> Answer:
    """Run the command line where no file can grow beyond `limit` bytes: writing fails as on a full disk."""
    code = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "from wildseg.cli.main import main\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    return python("-c", code, *arguments, cwd=cwd, **environment)


@pytest.fixture
def with_maps(folder: Path) -> Artifacts:
    """A project after cam: three frames, with maps of noise."""
    artifacts = Artifacts(folder)
    noise = np.random.default_rng(0)
    frames = [Frame(f"a_{index:06d}", "a", index, None, "train") for index in range(3)]
    for frame in frames:
        artifacts.save_image(frame.name, noise.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        artifacts.save_maps(frame.name, np.array([0, 1]), noise.random((2, 6, 8)))
    artifacts.save_frames(frames)
    names = params.load(folder / "params.yaml").classes.names
    artifacts.save_priors([frame.name for frame in frames], names, np.ones((len(frames), len(names))))
    return artifacts


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(with_maps: Artifacts, workers: str) -> None:
    answer = with_small_files(300, "crf", cwd=with_maps.root, WILDSEG_WORKERS=workers)
    assert answer.code == 1
    assert "Traceback" not in answer.errors
    last = answer.errors.splitlines()[-1]
    assert re.fullmatch(r"wildseg: error: .*data/masks/a_000000\.png: File too large", last)
    assert [path for path in with_maps.masks_folder.rglob("*") if path.is_file()] == []
    assert not (with_maps.root / "metrics" / "crf.json").exists()


def test_the_same_command_succeeds_once_there_is_room(with_maps: Artifacts) -> None:
    with_small_files(300, "crf", cwd=with_maps.root, WILDSEG_WORKERS="1")
    answer = wildseg("crf", cwd=with_maps.root, WILDSEG_WORKERS="1")
    assert answer.code == 0, answer
    assert answer.output.startswith("crf: 3 frames")
    assert len(list(with_maps.masks_folder.glob("*.png"))) == 3


# Bugs ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyError("a bug"), AssertionError("a bug"), TypeError("a bug")])
def test_a_bug_keeps_its_traceback(folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    raising(error, monkeypatch)
    result = run("crf")
    assert result.exception is error
    assert result.exit_code == 1


def test_a_bug_shows_its_traceback_to_a_person(folder: Path) -> None:
    code = (
        "from wildseg.cli import main as cli\nfrom wildseg.execution import params\n"
        "def broken(**_): raise ValueError('a bug')\n"
        "params.load = broken\n"
        "cli.main()\n"
    )  # fmt: skip
    answer = python("-c", code, "crf", cwd=folder)
    assert answer.code == 1
    assert answer.errors.startswith("Traceback")
    assert answer.errors.endswith("ValueError: a bug\n")


# Memory --------------------------------------------------------------------------------------------------------------

CPU = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "crf: memory ran out; set extract.max_side"),
        (MemoryError("Unable to allocate 3.47 EiB for an array with shape (9, 9) and data type float32"),
         "crf: memory ran out (3.47 EiB were requested at once); set extract.max_side"),
        (RuntimeError(f"{CPU}4000000000000 bytes. Error code 12 (Cannot allocate memory)"),
         "crf: memory ran out (4000000000000 bytes were requested at once); set extract.max_side"),
        (RuntimeError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8 GiB"),
         "crf: the GPU's memory ran out"),
        (RuntimeError("std::bad_alloc"), "crf: memory ran out; "),
        (Exception("OpenCV(4.9) error: (-4:Insufficient memory) Failed to allocate 9000000000 bytes in function 'x'"),
         "crf: memory ran out (9000000000 bytes were requested at once); "),
    ],
)  # fmt: skip
def test_memory_that_ran_out_is_one_line_with_what_takes_less(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    raising(error, monkeypatch)
    said = error_line(run("crf"))
    assert said.startswith(line)
    assert said.endswith("; set extract.max_side, or WILDSEG_WORKERS to fewer")


def test_an_error_of_another_kind_stays_what_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raising(RuntimeError("expected scalar type Float but found Half"), monkeypatch)
    result = run("crf")
    assert isinstance(result.exception, RuntimeError)


@pytest.mark.parametrize("stage", cli.STAGES)
def test_every_stage_says_what_takes_less_memory(stage: str) -> None:
    assert stage in out_of_memory.REMEDIES


def fails_to_allocate(size: int, _: None) -> int:
    return len(np.empty(size, np.float64))


def test_memory_that_ran_out_in_a_worker_is_told_as_such() -> None:
    with pytest.raises(MemoryError) as caught, LocalPool(2, no_setup) as workers:
        list(workers.each(fails_to_allocate, [1, 2**58]))
    assert out_of_memory.describe(caught.value, "cam") == (
        "cam: memory ran out (2.00 EiB were requested at once); lower cam.max_side or the largest of cam.scales, or "
        "set WILDSEG_WORKERS to fewer"
    )
