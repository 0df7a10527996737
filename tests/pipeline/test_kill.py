"""Kill it anywhere: a run that was killed in any stage goes on, loses next to nothing, and ends with the same bytes.

Every stage is killed once here, as forks of tests.forks, and one process of each kind alone, as programs of their own.
`make torture` makes hundreds of kills of such programs.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import psutil
import pytest

from tests.pipeline import processes
from tests.pipeline.conftest import Project, served, stages_run
from wildseg.cli.main import STAGES

pytestmark = pytest.mark.slow

TORTURE = "WILDSEG_KILLS" in os.environ
KILLS = int(os.environ.get("WILDSEG_KILLS", len(STAGES)))
SEED = int(os.environ.get("WILDSEG_KILLS_SEED", "0"))
VICTIMS = ("all", "dvc", "stage")
TRACKED = ("train", "eval")  # write to MLflow


def started(project: Project, log: Path, tracking: str) -> subprocess.Popen[bytes]:
    """Start `dvc repro`: with two workers, or as forks without, since a worker would be no fork."""
    forked = {} if TORTURE else {**project.forked(), "WILDSEG_WORKERS": "1"}
    return processes.start(project, log, "dvc", "repro", **forked, WILDSEG_TRACKING=tracking)


def seconds(project: Project, log: Path) -> dict[str, float]:
    """Run all stages undisturbed, and return how long each takes."""
    began, process = {}, started(project, log, "off")
    while process.poll() is None:
        for stage in stages_run(log.read_text()):
            began.setdefault(stage, time.monotonic())
        time.sleep(0.02)
    assert process.returncode == 0, log.read_text()
    ends = [*began.values(), time.monotonic()][1:]
    return {stage: end - begin for (stage, begin), end in zip(began.items(), ends, strict=True)}


def repro_killed_in(project: Project, stage: str, delay: float, log: Path, victim: str) -> bool:
    """Start `dvc repro` and kill it `delay` seconds after `stage` began: all of it, or one process alone.

    Returns:
        Whether it was killed; False if it came to its end before.
    """
    process = started(project, log, "on" if TORTURE or stage in TRACKED else "off")
    while f"Running stage '{stage}'" not in log.read_text() and process.poll() is None:
        time.sleep(0.02)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        try:
            victims = processes.of(project) if victim == "all" else [processes.the(victim, project)]
        except StopIteration:  # between two stages
            victims = processes.of(project)
        for one in victims:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        assert processes.left_after([process], project) == []
        return True
    if process.returncode:  # the kill before tore one of the two files that DVC does not rename into place
        assert "incomplete" in project.run("wildseg", "repair"), log.read_text()
        return repro_killed_in(project, stage, delay, log, victim)
    return False


def forget(project: Project) -> None:
    """Bring a project to the state of a fresh clone: nothing is computed, and nothing is known."""
    shutil.rmtree(project.folder / ".wildseg", ignore_errors=True)
    shutil.rmtree(project.folder / ".dvc" / "cache" / "runs", ignore_errors=True)
    (project.folder / "dvc.lock").unlink()


def kept(project: Project) -> Counter[str]:
    """Count the frames that each stage's cache holds."""
    cache = project.folder / ".wildseg" / "cache"
    return Counter({stage: len(list((cache / stage).glob("??/[0-9a-f]*"))) for stage in ("label", "cam", "crf")})


def leftovers(project: Project) -> list[Path]:
    """Files under temporary names among what the stages leave."""
    folders = ("data/frames", "data/labels", "data/cams", "data/masks", "metrics", "models/segmenter")
    found = [path for folder in folders for path in (project.folder / folder).rglob(".*")]
    return [path for path in found if path.name != ".gitignore"]


def go_on(project: Project, stage: str) -> None:
    """Complete the stages before `stage`, whatever kills left of them; what they had computed is not computed again."""
    known, before = kept(project), list(STAGES)[: list(STAGES).index(stage)]
    for last in before[-1:]:
        try:
            output = project.dvc("repro", last)
        except AssertionError:  # as in `repro_killed_in`
            assert "incomplete" in project.run("wildseg", "repair")
            output = project.dvc("repro", last)
        for done, (frames, from_cache) in served(output).items():
            assert from_cache == min(known[done], frames)


def test_a_run_killed_in_every_stage_ends_like_one_that_was_not(project: Project, tmp_path: Path) -> None:
    undisturbed, log = project.digests(), tmp_path / "log"
    forget(project)
    length = seconds(project, log)
    assert list(length) == list(STAGES)
    forget(project)
    moments, stages = random.Random(SEED), cycle(STAGES)
    for _ in range(KILLS):
        stage = next(stages)
        delay, victim = moments.uniform(0.0, length[stage]), moments.choice(VICTIMS)
        go_on(project, stage)
        while not repro_killed_in(project, stage, delay, log, victim):  # it came to its end before that stage, or in it
            assert project.digests() == undisturbed
            forget(project)
            go_on(project, stage)
            delay /= 2  # it was faster than the measured one
    project.run("wildseg", "repair")
    project.dvc("repro")
    assert project.digests() == undisturbed
    assert leftovers(project) == []


def test_what_a_killed_stage_has_computed_is_not_computed_again(project: Project, tmp_path: Path) -> None:
    undisturbed, log = project.digests(), tmp_path / "log"
    shutil.rmtree(project.folder / ".wildseg" / "cache" / "cam")
    shutil.rmtree(project.folder / ".dvc" / "cache" / "runs")
    alone = {"WILDSEG_WORKERS": "1"}  # a second one would import PyTorch for half of seven frames
    process = processes.start(project, log, "dvc", "repro", "--force", "--single-item", "cam", **alone)
    while not kept(project)["cam"] and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    project.run("wildseg", "repair")
    known = kept(project)["cam"]
    frames, from_cache = served(project.dvc("repro", "--force", "--single-item", "cam"))["cam"]
    assert 0 < known == from_cache < frames
    assert project.digests() == undisturbed


# One process alone, and then another run with other parameters ------------------------------------------------------

SLOW = {"crf": {"iterations": 30}}
SLOWER = {"crf": {"iterations": 90}, "cam": {"flip": True, "scales": [1.0, 1.5, 2.0, 2.5]}}  # to be killed
OTHER = {"crf": {"alpha": 2.0}, "cam": {"method": "hirescam"}}
LEFT = {"crf": "data/masks/confidence/*.png", "cam": "data/cams/*.npz"}


@pytest.fixture(scope="module")
def clean(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """The digests of undisturbed runs up to a stage with the other parameters, that keep nothing."""
    found = {}
    for stage, values in OTHER.items():
        project = finished.copy(tmp_path_factory.mktemp("clean") / "project")
        project.change(stage, **values)
        project.dvc("repro", stage, WILDSEG_CACHE="off")
        found[stage] = project.digests()
    return found


def begun(
    project: Project, stage: str, log: Path, *before: str, slow: dict[str, dict] = SLOWER
) -> subprocess.Popen[bytes]:
    """Start `dvc repro` up to a stage that takes its time, and return when that has written its first file."""
    project.change(stage, **slow[stage])
    workers = {"WILDSEG_WORKERS": "1"} if stage == "cam" else {}  # each would import PyTorch
    process = processes.start(project, log, *before, "dvc", "repro", stage, **workers)
    running = f"Running stage '{stage}'"
    processes.until(lambda: running in log.read_text() and list(project.folder.glob(LEFT[stage])), log)
    assert process.poll() is None
    return process


def check_another_run(project: Project, stage: str, usual: Project, clean: dict[str, dict[str, str]]) -> None:
    """Run up to a stage with the other parameters, over whatever the killed one, and its workers, left."""
    project.change(stage, **usual.params()[stage] | OTHER[stage])
    project.run("wildseg", "repair")
    project.dvc("repro", stage)
    assert project.digests() == clean[stage]
    assert leftovers(project) == []


@pytest.mark.parametrize(
    ("stage", "victim", "number"),
    [
        ("cam", "dvc", signal.SIGKILL),
        ("crf", "dvc", signal.SIGTERM),
        ("crf", "dvc", signal.SIGKILL),
        ("crf", "stage", signal.SIGTERM),
        ("crf", "stage", signal.SIGKILL),
        ("crf", "worker", signal.SIGKILL),
    ],
)
def test_a_process_killed_alone_takes_the_others_along_and_leaves_nothing_wrong(
    stage: str, victim: str, number: signal.Signals, project: Project, finished: Project,
    clean: dict[str, dict[str, str]], tmp_path: Path,
) -> None:  # fmt: skip
    log = tmp_path / "log"
    process = begun(project, stage, log)
    processes.the(victim, project).send_signal(number)
    assert processes.left_after([process], project) == []
    said = log.read_text()
    assert stage not in served(said)  # nothing of it went on to the end
    assert "Traceback" not in said
    assert "semaphore" not in said
    assert said.count("wildseg: stopped by SIGTERM") == ((victim, number) == ("stage", signal.SIGTERM))
    assert ("exited with 143" in said) == ((victim, number) == ("stage", signal.SIGTERM))
    check_another_run(project, stage, finished, clean)


@pytest.mark.parametrize("number", ["TERM", "KILL"])
def test_a_time_limit_leaves_nothing_wrong(
    number: str, project: Project, finished: Project, clean: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = begun(project, "crf", log, "timeout", "--signal", number, "600")
    process.send_signal(signal.SIGALRM)  # by which it knows that the time is up
    assert processes.left_after([process], project) == []
    assert "crf" not in served(log.read_text())
    assert "Traceback" not in log.read_text()
    check_another_run(project, "crf", finished, clean)


def test_a_stage_by_hand_keeps_out_of_the_way_of_dvc_and_dvc_out_of_its_way(
    project: Project, finished: Project, clean: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = begun(project, "crf", log, slow=SLOW)
    with processes.standing_still(project):
        line = project.run("wildseg", "cam", expect=1, PYTHONPATH="src").strip()
    assert re.fullmatch(
        r"wildseg: error: cam: '(wildseg crf|dvc repro crf)' .* this project \(process \d+.*\); wait until it ends, or "
        "stop it", line
    ), line  # fmt: skip
    assert process.wait() == 0, log.read_text()

    project.change("crf", **finished.params()["crf"] | OTHER["crf"])
    by_hand = processes.start(project, log, "wildseg", "crf", PYTHONPATH="src", WILDSEG_CACHE="off")
    processes.until(lambda: any(processes.kind(process) == "worker" for process in processes.of(project)), log)
    with processes.standing_still(project):
        said = project.run("dvc", "repro", "crf", expect=255)
    assert re.search(r"busy.*\n.*wildseg crf", said)
    assert by_hand.wait() == 0, log.read_text()
    project.dvc("repro", "crf")
    assert project.digests() == clean["crf"]


def test_parameters_that_change_while_a_stage_is_at_work_are_not_recorded_with_its_result(
    project: Project, finished: Project, clean: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = begun(project, "crf", log, slow=SLOW)
    project.change("crf", **finished.params()["crf"] | OTHER["crf"])  # DVC hashes params.yaml when the stage has ended
    assert process.wait() != 0
    assert (
        "crf: crf in params.yaml changed while the stage was running, so its result is not recorded" in log.read_text()
    )
    check_another_run(project, "crf", finished, clean)


@pytest.mark.parametrize("when", ["workers start", "they work"])
@pytest.mark.parametrize("command", [("wildseg", "crf"), ("dvc", "repro", "crf")], ids=lambda words: words[0])
def test_ctrl_c_is_one_line(command: tuple[str, ...], when: str, project: Project, tmp_path: Path) -> None:
    project.change("crf", **SLOW["crf"])
    shutil.rmtree(project.folder / "data" / "masks")
    log = tmp_path / "log"
    process = processes.start(project, log, *command, PYTHONPATH="src")
    if when == "workers start":
        processes.until(lambda: any(processes.kind(one) == "worker" for one in processes.of(project)), log)
    else:
        processes.until(lambda: list(project.folder.glob(LEFT["crf"])), log)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    assert processes.left_after([process], project) == []
    said = [line for line in log.read_text().splitlines() if "crf: " not in line or "error" in line]
    ours = "wildseg: stopped by Ctrl-C; run the same again to go on"
    if command[0] == "wildseg":
        assert said == [ours]
        assert process.returncode == 130
    else:
        assert said[-2] == ours
        # The shell that DVC starts a stage by is $SHELL or sh. One that waits for the stage ends by the signal itself.
        assert said[-1].endswith(("exited with 130", "exited with -2"))
        assert "Traceback" not in said
