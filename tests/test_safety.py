"""Nothing here can run code from a file, reach a host, or depend on the machine it was written on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.house import dotted, nodes, parsed

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "tests", "benchmarks", "models", "docs")
PYTHON = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
TEXT = sorted(
    path
    for pattern in ("*.md", "*.toml", "*.yaml", "*.yml", "*.cfg", "*.txt", "Makefile", ".ci/*", "docs/**/*.md",
                    "data/**/dvc.yaml", "models/**/dvc.yaml", "metrics/**/dvc.yaml",
                    "benchmarks/*.md", "benchmarks/*.json")
    for path in ROOT.glob(pattern)
    if path.is_file()
)  # fmt: skip


# The keyword arguments that tests look at.
WORDS = ("Loader", "allow_pickle", "shell", "typ", "weights_only")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def full_names(path: Path) -> dict[str, str]:
    """What the names that a file imports stand for: ``np`` for numpy, ``run`` for subprocess.run."""
    found = {}
    for node in nodes(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def called(path: Path, node: ast.Call) -> str:
    """The full name of what is called, whatever it was imported as."""
    first, dot, rest = dotted(node.func).partition(".")
    return full_names(path).get(first, first) + dot + rest


def call_nodes() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call of every file: where, what is called, and the call."""
    for path in PYTHON:
        for node in nodes(parsed(path)):
            if isinstance(node, ast.Call):
                yield f"{name(path)}:{node.lineno}", called(path, node), node


@cache
def calls() -> list[tuple[str, str, dict[str, str]]]:
    """Every call of every file: where, what is called, and those of its `WORDS` that are given, as they are written."""
    return [
        (where, what, {word.arg: ast.unparse(word.value) for word in node.keywords if word.arg in WORDS})
        for where, what, node in call_nodes()
    ]


def imports(folder: str = "") -> Iterator[tuple[str, str]]:
    """Every package that a file imports: where, and its name."""
    for path in PYTHON:
        for node in nodes(parsed(path)) if name(path).startswith(folder) else ():
            if isinstance(node, ast.Import):
                yield from ((f"{name(path)}:{node.lineno}", alias.name.split(".")[0]) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield f"{name(path)}:{node.lineno}", node.module.split(".")[0]


def test_there_is_something_to_look_at() -> None:
    assert len(PYTHON) > 50
    assert ROOT / "README.md" in TEXT
    assert len(calls()) > 1000


def test_nothing_that_runs_code_when_it_reads_is_imported() -> None:
    unsafe = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle",
              "tarfile", "runpy", "code"}  # fmt: skip
    # What the processes of one run say to each other, in memory, as multiprocessing does it by itself.
    between_processes = "src/wildseg/execution/engines/ray.py"
    # Programs of this environment, run as they are.
    programs = "tests/fork_server.py"
    found = [where for where, package in imports() if package in unsafe]
    assert [where for where in found if not where.startswith((between_processes, programs))] == []


def test_arrays_are_read_without_objects() -> None:
    assert [
        where
        for where, what, words in calls()
        if words.get("allow_pickle", "False") != "False"
        or (what == "numpy.load" and where.startswith("src") and "allow_pickle" not in words)
    ] == []


def test_weights_are_read_as_weights_only() -> None:
    assert [
        where
        for where, what, words in calls()
        if words.get("weights_only", "True") != "True"
        or (what == "torch.load" and "weights_only" not in words)
        or what in ("torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "pandas.read_pickle")
    ] == []


def test_yaml_is_read_by_a_safe_loader() -> None:
    assert [
        where
        for where, what, words in calls()
        if what in ("yaml.full_load", "yaml.unsafe_load", "yaml.load_all", "yaml.Loader", "yaml.UnsafeLoader")
        or (what == "yaml.load" and words.get("Loader") not in ("_Loader", "yaml.SafeLoader"))
        or (what == "ruamel.yaml.YAML" and words.get("typ", "'rt'") not in ("'safe'", "'rt'"))
    ] == []


def test_no_text_is_run_as_a_program() -> None:
    unsafe = {"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "os.system", "os.popen",
              "pty.spawn", "subprocess.getoutput", "subprocess.getstatusoutput"}  # fmt: skip
    assert [
        where
        for where, what, words in calls()
        if what in unsafe or what.startswith(("os.exec", "os.spawn")) or words.get("shell", "False") != "False"
        # The launcher that a person named, as a list of words: see tests/stages/test_train_together.py
        if (what, where.split(":")[0]) != ("os.execvp", "src/wildseg/execution/launcher.py")
    ] == []


def test_programs_are_started_by_a_list_of_words_and_never_by_a_line() -> None:
    starters = {f"subprocess.{function}" for function in ("run", "call", "check_call", "check_output", "Popen")}
    started = [(where, node.args[0]) for where, what, node in call_nodes() if what in starters]
    assert started
    assert [where for where, command in started if not isinstance(command, (ast.List, ast.Tuple, ast.Name))] == []
    ours = sorted(where.split(":")[0] for where, _ in started if where.startswith("src"))
    # git: see test_hostile_files.py and cli/doctor/test_project.py
    assert ours == ["src/wildseg/cli/doctor/git.py", "src/wildseg/tracking/provenance.py"]


def test_no_archive_is_unpacked_to_the_disk() -> None:
    # A member may be named ../../x.
    assert [where for where, what, _ in calls() if what.endswith((".extractall", ".extract", "unpack_archive"))] == []


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("from os import system\nsystem('x')", "os.system"),
        ("import numpy as anything\nanything.load('x')", "numpy.load"),
        ("from torch import load as innocent\ninnocent('x')", "torch.load"),
        ("def f():\n    import subprocess\n    subprocess.run('x')", "subprocess.run"),
    ],
)
def test_another_name_hides_nothing_from_these_tests(text: str, full: str, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text(text)
    assert [called(path, node) for node in nodes(parsed(path)) if isinstance(node, ast.Call)] == [full]


def test_the_package_reaches_for_no_network_of_its_own() -> None:
    # MLflow and the model hub are reached by their own clients, and only when asked for; so is a language server.
    network = {"requests", "urllib", "urllib3", "http", "socket", "ftplib", "httpx", "aiohttp", "telnetlib"}
    allowed = (
        "src/wildseg/cli/tick/server.py",  # serves its page on 127.0.0.1, and reaches for nothing
        "src/wildseg/cli/doctor/tracking.py",  # asks whether anybody answers at MLFLOW_TRACKING_URI
        "src/wildseg/execution/engines/_ray_cluster.py",  # asks whether anybody answers at RAY_ADDRESS
        "src/wildseg/exchange/file_names.py",  # takes an address in a file apart, by urllib.parse alone
        "src/wildseg/exchange/label_studio.py",  # makes the address of an image, the same
        "src/wildseg/labels/language/server.py",  # asks the server that label.language names,
        "src/wildseg/labels/language/transport.py",  # by this
    )
    assert [w for w, package in imports("src") if package in network and not w.startswith(allowed)] == []


def test_no_mistake_of_a_person_is_left_to_assert() -> None:
    # `python -O` drops them, and they print a traceback instead of what to do.
    source = [path for path in PYTHON if name(path).startswith("src")]
    assert [name(path) for path in source if any(isinstance(node, ast.Assert) for node in nodes(parsed(path)))] == []


# Each is written so that it does not find itself.
FORBIDDEN = {
    "a folder of one machine": r"(?<![\w./~-])/(wor[k]|roo[t]|hom[e]|Users|tm[p]|opt|mnt)/\w",
    "a host of packages": r"pypi\.or[g]|pythonhosted\.or[g]|huggingface\.c[o]|anaconda\.or[g]",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a key of a cloud": r"\b(AKIA[0-9A-Z]{16}|sk-[A-Za-z0-9]{20,}|ghp_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{30,})\b",
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    found = {name(path): re.search(FORBIDDEN[what], path.read_text(encoding="utf-8")) for path in (*PYTHON, *TEXT)}
    assert {where: match.group() for where, match in found.items() if match} == {}
