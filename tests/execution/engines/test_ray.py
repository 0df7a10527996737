"""A Ray cluster of two machines (both here): what comes back is what one process computes, whatever goes wrong."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.models import save
from tests.execution.engines import work
from tests.execution.pool import no_setup
from tests.programs import SOURCE, python
from tests.shared import shipped_params
from tests.stages import tiny_run
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError, WildsegError
from wildseg.execution.engines import _ray_cluster
from wildseg.execution.engines._ray_cluster import Place
from wildseg.execution.fingerprint import fingerprint
from wildseg.execution.params import Params
from wildseg.execution.runtime import Runtime
from wildseg.execution.worker_pool import worker_pool
from wildseg.stages import crf, label
from wildseg.stages.cam import stage as cam
from wildseg.stages.eval import stage as evaluate

ROOT = Path(__file__).parents[3]
RAY = Runtime(2, "cpu", engine="ray", chosen=True)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    _ray_cluster.load()
    from ray.cluster_utils import Cluster

    # GPUs are only claimed: whoever asks for one is told its number.
    machine = {"num_cpus": 1, "num_gpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=machine)
    cluster.add_node(**machine)
    yield cluster.address
    cluster.shutdown()


@pytest.fixture
def cluster(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project folder to be in, and workers that know this checkout's code and tests."""
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.relpath(path, tmp_path) for path in (SOURCE, ROOT)))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("cluster")
def test_results_come_in_order_from_all_machines_and_an_exception_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wildseg.execution.engines.ray.DATASET", 20)  # for each of two workers: two datasets
    with worker_pool(RAY, 60, work.take_rank, model=True) as workers:
        answers = workers.each(work.slow_square_below_55, range(60))
        results = [next(answers) for _ in range(55)]
        with pytest.raises(DataError, match="^item 55$"):
            next(answers)
        assert [square for square, _, _ in results] == [number * number for number in range(55)]
        assert os.getpid() not in {pid for _, pid, _ in results}
        assert {folder for _, _, folder in results} == {str(tmp_path)}

        assert list(workers.each(work.slow_square_below_55, [])) == []

        with pytest.raises(ZeroDivisionError) as caught:
            list(workers.each(work.has_a_bug_at_five, range(60)))
        assert "has_a_bug_at_five" in "".join(caught.value.__notes__)  # where it happened
    assert not list((tmp_path / ".wildseg" / "ray").iterdir())


@pytest.mark.usefixtures("cluster")
def test_a_worker_with_a_model_sees_its_own_gpu_and_any_other_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    for device, model, seen in (("auto", True, ["0"] * 2), ("auto", False, [""]), ("cpu", True, [""])):
        with worker_pool(replace(RAY, device=device), len(seen), work.take_rank, model=model) as workers:
            assert list(workers.each(work.visible_gpus, range(len(seen)))) == seen


@pytest.mark.usefixtures("cluster")
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    with worker_pool(RAY, 80, no_setup, model=False) as workers:
        results = []
        for result in workers.each(work.square_and_note_pid, range(80)):
            results.append(result)
            if len(results) == 10:
                pid = int((tmp_path / "attempts").read_text().splitlines()[-1].split()[1])
                os.kill(pid, signal.SIGKILL)
    assert results == [number * number for number in range(80)]
    attempts = [line.split() for line in (tmp_path / "attempts").read_text().splitlines()]
    assert {int(number) for number, _ in attempts} == set(range(80))
    assert len(attempts) > 80  # what the killed one had begun was begun again
    assert len({pid for _, pid in attempts}) >= 2


@pytest.mark.usefixtures("cluster")
def test_an_item_that_kills_every_worker_is_one_clear_error(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        pytest.raises(WildsegError, match="a worker of the Ray cluster was lost 4 times at the same frames.*memory"),
        worker_pool(RAY, 12, no_setup, model=False) as workers,
    ):
        list(workers.each(work.die_at_nine, range(12)))
    assert capfd.readouterr() == ("", "")  # not even now has Ray anything to say


@pytest.mark.usefixtures("cluster")
def test_tools_that_cannot_be_prepared_are_told_before_any_item_is_taken(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("wildseg.execution.engines.ray.PATIENCE", 0)
    with pytest.raises(DataError, match="^no model for worker 0$"), worker_pool(RAY, 9, work.refuse, model=True):
        pytest.fail("the body ran")
    assert capfd.readouterr().err.startswith("ray: no worker is ready after 0 s; it waits for a free core or GPU")


# What the stages write -------------------------------------------------------------------------------------------


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    monkeypatch.setenv("WILDSEG_TRACKING", "off")
    model = tmp_path / "model"
    model.mkdir()
    name, weights = save(model, "tiny")
    chosen = tiny_run.params()
    return replace(
        chosen,
        clip=replace(chosen.clip, model=name, pretrained=weights),
        label=replace(chosen.label, method="clip", threshold=0.0, options={"clip": {"tiles": 1}}),
        cam=replace(chosen.cam, scales=(1.0, 1.5), refine="caa"),
        crf=replace(chosen.crf, min_confidence=0.0),
        # What eval computes besides in workers of its own, each of which would import PyTorch: below, on this machine.
        eval=replace(chosen.eval, label_free_frames=0, report_frames=0),
    )


def outputs(root: Path, values: Params, runtime: Runtime) -> dict[str, bytes]:
    artifacts = tiny_run.make(root)
    for frame in artifacts.load_frames():
        image = np.random.default_rng(frame.index).integers(0, 256, (32, 48, 3), np.uint8)
        artifacts.save_image(frame.name, image)
    shutil.rmtree(root / "data" / "truth")  # of another size
    for stage in (label, cam, crf, evaluate):
        # Each worker of a cluster imports PyTorch anew where a model is needed: two show what they do without.
        workers = runtime.workers if stage is crf else 1
        stage.run(values, Artifacts(root), replace(runtime, workers=workers))
    return written(root)


def written(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("cluster", "forked_workers")
def test_every_stage_writes_the_same_bytes_by_any_engine_and_number_of_workers(values: Params, tmp_path: Path) -> None:
    alone = outputs(tmp_path / "alone", values, Runtime(1, "cpu"))
    assert {Path(path).parts[:2] for path in alone} >= {("data", "cams"), ("data", "masks"), ("data", "labels")}
    assert any("pictures" in path for path in alone)
    assert outputs(tmp_path / "ray", values, RAY) == alone
    # Two workers of this machine, all of eval: tests/stages has that of the other stages.
    complete = replace(values, eval=replace(values.eval, label_free_frames=48, report_frames=2000))
    evaluate.run(complete, Artifacts(tmp_path / "alone"), Runtime(1, "cpu"))
    alone = written(tmp_path / "alone")
    assert any("report/frames" in path for path in alone)
    evaluate.run(complete, Artifacts(tmp_path / "alone"), Runtime(2, "cpu"))
    assert written(tmp_path / "alone") == alone


def ready_for_crf(folder: Path) -> list[str]:
    """Make a project with the shipped parameters and return its frames, whose maps have no masks yet."""
    artifacts, values = tiny_run.make(folder), shipped_params()
    shutil.copy(ROOT / "params.yaml", folder)
    frames, names = [frame.name for frame in artifacts.load_frames()], values.classes.names
    artifacts.save_priors(frames, names, np.ones((len(frames), len(names))))
    return frames


def test_without_an_address_a_cluster_is_started_that_says_nothing(tmp_path: Path) -> None:
    frames = ready_for_crf(tmp_path)
    (tmp_path / "data" / "masks").rename(tmp_path / "before")
    code = os.path.relpath(SOURCE, tmp_path)
    variables = {"WILDSEG_ENGINE": "ray", "WILDSEG_WORKERS": "2", "RAY_ADDRESS": "", "PYTHONPATH": code}
    answer = python("-m", "wildseg.cli", "crf", cwd=tmp_path, **variables)
    assert answer.code == 0, answer
    assert answer.output.startswith(f"crf: {len(frames)} frames,"), answer
    assert len(answer.output.splitlines()) == 1, answer
    assert all(line.startswith("crf: ") for line in answer.errors.splitlines()), answer
    assert len(list((tmp_path / "data" / "masks").glob("*.png"))) == len(frames)


# What a person may get wrong -------------------------------------------------------------------------------------


def test_without_ray_there_is_one_line_that_says_what_to_install(tmp_path: Path) -> None:
    ready_for_crf(tmp_path)
    code = "import sys; sys.modules['ray'] = None\nfrom wildseg.cli.main import main\nmain(['crf'])"
    answer = python("-c", code, cwd=tmp_path, WILDSEG_ENGINE="ray")
    assert answer.code == 1
    assert "pip install 'wildseg[ray]'" in answer.errors
    assert len(answer.errors.splitlines()) == 1, answer


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("127.0.0.1:1", "RAY_ADDRESS: expected a Ray cluster, found none at 127.0.0.1:1 .*refused"),
        ("ray://127.0.0.1:1", "RAY_ADDRESS: expected auto or host:port, found 'ray://127.0.0.1:1'"),
        ("nonsense", "RAY_ADDRESS: expected a Ray cluster, found none at nonsense"),
    ],
)
def test_an_address_without_a_cluster_is_told(monkeypatch: pytest.MonkeyPatch, address: str, line: str) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(WildsegError, match=line), worker_pool(RAY, 1, no_setup, model=False):
        pytest.fail("the body ran")


def test_no_secret_is_handed_to_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "a secret")
    monkeypatch.setenv("HF_HOME", "weights")
    passed_on = _ray_cluster._variables()
    assert passed_on["HF_HOME"] == "weights"
    assert "a secret" not in passed_on.values()


def test_a_gpu_of_ones_own_choice_is_refused() -> None:
    with pytest.raises(WildsegError, match="expected auto, cpu or cuda with WILDSEG_ENGINE=ray.*found 'cuda:1'"):
        worker_pool(replace(RAY, device="cuda:1"), 1, no_setup, model=True)


@pytest.mark.usefixtures("cluster")
def test_a_machine_that_does_not_run_this_code_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other" / "wildseg").mkdir(parents=True)
    (tmp_path / "other" / "wildseg" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", "other")
    with (
        pytest.raises(WildsegError, match=f"expected the folder {tmp_path} of this project.*No module named"),
        worker_pool(RAY, 1, no_setup, model=False),
    ):
        pytest.fail("the body ran")


def test_a_worker_goes_to_the_folder_only_if_it_is_the_same_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    mark = Path("mark")
    with pytest.raises(WildsegError, match=f"expected the folder {tmp_path} of this project on every machine, found"):
        Place(tmp_path, mark, fingerprint()).enter()
    (tmp_path / mark).touch()
    with pytest.raises(WildsegError, match="expected the code of .* on every machine, found another in"):
        Place(tmp_path, mark, "0" * 64).enter()
    assert Path.cwd() == ROOT
    Place(tmp_path, mark, fingerprint()).enter()
    assert Path.cwd() == tmp_path
