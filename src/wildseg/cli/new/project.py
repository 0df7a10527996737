"""`wildseg new`: a video and class names become a project, in a clone of wildseg.

A project is a clone: dvc.yaml names the code that each stage depends on, which lies in ``src`` beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import chdir
from pathlib import Path
from typing import Any

import wildseg
from wildseg.cli.doctor import git
from wildseg.cli.doctor.disk import existing, size_of
from wildseg.cli.new import estimate, media
from wildseg.core import yaml_files
from wildseg.core.errors import DataError, WildsegError, words_of
from wildseg.core.files import atomic, save_bytes, sha256_of
from wildseg.core.yaml_document import Document
from wildseg.execution import params, presets, runtime
from wildseg.execution.cache_usage import readable
from wildseg.execution.params import Params
from wildseg.frames.sources import safe_name


def create(
    source: Path,
    classes: Mapping[str, Sequence[str]],
    root: Path,
    names: Sequence[str],
    into: Path | None = None,
    topic: str | None = None,
) -> list[str]:
    """Make a project of `source` and `classes`; return lines: what was done, how long a run takes, what comes next.

    Everything is checked before anything is written. A second call with the same goes on where the first was stopped;
    of params.yaml it changes classes, source and what the presets name, and leaves all else as it is by then.

    Args:
        source: a video, a recording, or a folder of these and photos.
        classes: phrases by name.
        root: the current folder.
        names: presets to lay over params.yaml, later ones winning.
        into: a folder for a clone of its own; None makes the project of `root`, which then is a clone.
        topic: of a recording; None takes the only one of images.

    Raises:
        WildsegError: the source cannot be read, there is no clone, or another file of the same name is in the way.
    """
    found = media.measure(source, topic)
    project = root if into is None else into
    template = _clone_of(root, into)
    place = _place(source, project, template)
    path = project / "params.yaml"
    is_new = not path.is_file()  # else a second call, or a clone that somebody made: what is edited there stays
    text, values = _params_text(template / "params.yaml" if is_new else path, classes, names, place, topic)
    _check_space(source, project, place)
    lines = _repository(template, project)
    if is_new:  # a call that goes on after this starts from this text, and not from that of the last commit
        save_bytes(path, text.encode("utf-8"))
    target = _put(source, project / place)
    _add(project, place)
    if yaml_files.text_of(path) != text:
        save_bytes(path, text.encode("utf-8"))
    lines += [
        f"{place}: {_described(found)}, tracked by DVC" + ("" if target else ", as it was"),
        f"params.yaml: {len(classes)} classes ({', '.join(classes)}), source {place}"
        + (f", presets {', '.join(names)}" if names else "") + "; 'git diff params.yaml' shows each change",
    ]  # fmt: skip
    return [*lines, *_time(found, values), *_next(into, place)]


def time_of(root: Path) -> list[str]:
    """Return lines that estimate the time of a run of the project `root`; none where its source cannot be read."""
    try:
        values = params.load(root / "params.yaml", lambda _: None)
        return _time(media.measure(root / values.extract.source, values.extract.topic), values)
    except WildsegError:
        return []


def _clone_of(root: Path, into: Path | None) -> Path:
    """Return the clone that the project is made of: the present folder, or for a new one that of the installation."""
    candidates = [root] if into is None else [root, Path(wildseg.__file__).parents[2]]
    for folder in candidates:
        if (folder / "dvc.yaml").is_file() and (folder / "src" / "wildseg").is_dir():
            if into is None:
                return folder
            if git.lines(folder, "rev-parse", "--show-toplevel") is not None:
                return folder
    raise WildsegError(
        f"{root.resolve()}: expected a clone of wildseg, since dvc.yaml names the code in src, found none; "
        "run in a clone, or install from one ('pip install -e .') and give --into FOLDER"
    )


def _place(source: Path, project: Path, template: Path) -> str:
    """Return where the source lies in the project, relative to it."""
    for folder in {project.resolve(), template.resolve()} if project == template else {project.resolve()}:
        if source.resolve().is_relative_to(folder):
            return source.resolve().relative_to(folder).as_posix()
    name = safe_name(source.resolve().stem if source.is_file() else source.resolve().name)
    return f"data/raw/{name}{source.suffix.lower() if source.is_file() else ''}"


def _params_text(
    path: Path, classes: Mapping[str, Sequence[str]], names: Sequence[str], place: str, topic: str | None
) -> tuple[str, Params]:
    """Return the new text of params.yaml, and what it says."""
    changes: dict[str, Any] = presets.combined(names)
    changes["classes"] = {name: list(phrases) for name, phrases in classes.items()}
    changes["extract"] = {**changes.get("extract", {}), "source": place, "topic": topic, "held_out": []}
    text = yaml_files.text_of(path)
    document = Document(text)
    document.change(changes, presets.WHOLE)
    edited = document.text()
    return edited, params.parse(yaml_files.parse(edited, path))


def _check_space(source: Path, project: Path, place: str) -> None:
    if (project / place).exists():
        return
    needed = 2 * (source.stat().st_size if source.is_file() else size_of(source))
    free = shutil.disk_usage(existing(project)).free
    if needed > free:
        raise WildsegError(
            f"{project.resolve()}: expected {readable(needed)} for two copies of {source.name}, in data/raw and in "
            f"DVC's cache, found {readable(free)} free; make room"
        )


def _repository(template: Path, project: Path) -> list[str]:
    """Clone, and make a repository of git and DVC where there is none; return lines about what was done."""
    lines = []
    if project.resolve() != template.resolve() and not (project / "dvc.yaml").is_file():
        if project.exists() and any(project.iterdir()):
            raise WildsegError(
                f"{project}: expected a new or an empty folder, or a clone of wildseg; found other files"
            )
        git.run("clone", "--quiet", "--", str(template.resolve()), str(project))
        lines.append(f"{project}: a clone of {template.resolve()}, as its last commit is")
    if git.lines(project, "rev-parse", "--show-toplevel") is None:
        git.run("init", "--quiet", "--", str(project))
        lines.append(f"git: a new repository in {project.resolve()}")
    if not (project / ".dvc").is_dir():
        from dvc.repo import Repo

        Repo.init(str(project)).close()
        lines.append("DVC: initialised")
    return lines


def _put(source: Path, target: Path) -> bool:
    """Copy a video or folder to its place; False where it lies there. It is complete there, or not there at all."""
    if target.exists():
        same = target.samefile(source) or _same(source, target)
        if not same:
            raise DataError(f"{target}: expected no other file of this name; rename yours, or remove that one")
        return False
    if source.is_file():
        with atomic(target) as temporary:
            shutil.copy2(source, temporary)
        return True
    temporary = target.with_name(f".{target.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, temporary)
    temporary.replace(target)
    return True


def _same(one: Path, other: Path) -> bool:
    if one.is_file() or other.is_file():
        if not (one.is_file() and other.is_file()) or one.stat().st_size != other.stat().st_size:
            return False
        return sha256_of(one) == sha256_of(other)
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    others = sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    return names == others and all(_same(one / name, other / name) for name in names)


def _add(project: Path, place: str) -> None:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with chdir(project), Repo() as repo:
            repo.scm_context.quiet = True  # what it advises is a part of the next commands
            repo.add([place])
    except DvcException as error:
        raise WildsegError(f"dvc add {place}: {words_of(str(error))[:300]}") from error


def _described(found: Sequence[media.Media]) -> str:
    parts = []
    for one in found:
        size = f"{one.width}x{one.height}"
        if one.photos:
            parts.append(f"{one.photos} photos, the first of {size}")
        else:
            length = "of unknown length" if one.seconds is None else f"of {one.seconds:.0f} s"
            parts.append(f"a video {length}, {size}, {one.rate:.3g} frames a second")
    return parts[0] if len(parts) == 1 else f"{len(parts)} sources: {parts[0]}, ..."


def _time(found: Sequence[media.Media], values: Params) -> list[str]:
    chosen = runtime.Runtime.from_environment()
    gpu = bool(runtime.gpus(chosen))
    frames = estimate.key_frames(found, values)
    if frames is None:
        return ["time: a video does not say how long it is, so nothing can be estimated before 'dvc repro extract'"]
    spans = estimate.seconds(found, frames, values, chosen.workers, gpu)
    where = "a GPU" if gpu else f"{chosen.workers} cores without a GPU"
    count = f"{frames.low:.0f}" if frames.low == frames.high else f"{frames.low:.0f} to {frames.high:.0f}"
    steps = values.train.steps * values.train.rounds
    lines = [
        f"time (calculated, not measured here): {count} key frames, {estimate.shown(spans['frames'])} on {where}; "
        f"training of {steps} steps {estimate.shown(spans['training'])}"
    ]
    if not gpu and spans["training"].high > 2 * 3600:
        lines.append(
            "      most of it is training: 'dvc repro crf' ends with pseudo masks; a smaller train.steps trains less"
        )
    return lines


def _next(into: Path | None, place: str) -> list[str]:
    lines = [f"cd {into}"] if into else []
    tracked = f"{place}.dvc {Path(place).parent.as_posix()}/.gitignore"
    return [
        "next:",
        *(f"    {line}" for line in lines),
        f"    git add params.yaml {tracked} && git commit -m 'My project'",
        "    wildseg doctor                # what is missing here",
        "    dvc repro label               # then look at data/labels/labels.csv",
        "    dvc repro && wildseg summary",
    ]
