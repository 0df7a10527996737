"""The results of a commit, branch, tag or experiment, read through git and DVC; the workspace is left as it is."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import WildsegError, did_you_mean, words_of

if TYPE_CHECKING:
    from dvc.repo import Repo

WORKSPACE = "workspace"  # what DVC's tables call it


class Revision:
    """One of the two sides of a comparison.

    `name` is what a person typed, `facts` are names and values of the commit; `artifacts` are the files that were read.
    """

    def __init__(self, name: str, artifacts: Artifacts, facts: Iterable[tuple[str, str]] = ()) -> None:
        """Take the files of the workspace: all are there that there are."""
        self.name = name
        self.artifacts = artifacts
        self.facts = list(facts)

    def read(self, *paths: str) -> bool:
        """Have files or folders, by their path in the project, among `artifacts`; return whether all exist.

        Raises:
            WildsegError: they are recorded, but neither in DVC's cache nor in its remote.
        """
        return all(os.path.lexists(self.artifacts.root / path) for path in paths)


class CommittedRevision(Revision):
    """A commit: what is read is copied below the folder of its `artifacts`."""

    def __init__(self, name: str, folder: Path, root: Path, commit: str, facts: Iterable[tuple[str, str]]) -> None:
        """Open the files of a commit; `folder` is empty, `root` the project."""
        from dvc.api import DVCFileSystem

        super().__init__(name, Artifacts(folder), facts)
        self._files: Any = DVCFileSystem(str(root), rev=commit)

    def read(self, *paths: str) -> bool:
        """Copy files or folders of the commit; see `Revision.read`."""
        return all([self._copy(path) for path in paths])

    def _copy(self, path: str) -> bool:
        where = f"/{path}"
        target = self.artifacts.root / path
        if target.exists():
            return True
        try:
            if not self._files.exists(where):
                return False
            inside = self._files.ls(where, detail=False) if self._files.isdir(where) else None
            for one in [where] if inside is None else inside:
                place = target if inside is None else target / PurePosixPath(one).name
                place.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(one, str(place))
        except Exception as error:  # each of git, DVC's cache and its remotes has errors of its own
            raise WildsegError(
                f"{path} of {self.name} is recorded, but not in DVC's cache ({words_of(str(error))[:200]}); "
                f"'dvc fetch --all-commits' brings it from a remote, a new run of {self.name} makes it again"
            ) from error
        return True


@contextmanager
def opened(root: Path, *names: str) -> Iterator[list[Revision]]:
    """Open the results of revisions; `WORKSPACE` is what lies in the project folder.

    Raises:
        WildsegError: the project is not in git and DVC, or there is no such revision.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)  # it lists frozen stages
    root = root.resolve()
    with TemporaryDirectory(prefix="wildseg-diff-") as folder:
        found: list[Revision] = []
        try:
            with Repo(str(root)) as repo:
                for number, name in enumerate(names):
                    if name == WORKSPACE:
                        found.append(Revision(name, Artifacts(root), [("What", "the files as they are now")]))
                        continue
                    commit, facts = _commit(repo, name)
                    place = Path(folder) / str(number)
                    place.mkdir()
                    found.append(CommittedRevision(name, place, root, commit, facts))
        except DvcException as error:
            raise WildsegError(f"expected a project in git and DVC: {words_of(str(error))[:300]}") from error
        yield found


def _commit(repo: Repo, name: str) -> tuple[str, list[tuple[str, str]]]:
    from dvc.scm import NoSCM, RevError, resolve_rev

    if isinstance(repo.scm, NoSCM):
        raise WildsegError("expected a project in git: without it there are no commits to compare")
    try:
        commit = resolve_rev(repo.scm, name)
        about = repo.scm.resolve_commit(commit)
    except (RevError, ValueError) as error:
        raise WildsegError(
            f"{name!r}: expected a commit, branch, tag or experiment, found none{did_you_mean(name, _known(repo))}; "
            "'git log' and 'dvc exp list' show them"
        ) from error
    subject = about.message.strip().splitlines()[0] if about.message.strip() else ""
    return commit, [("Commit", commit[:10]), ("Subject", subject)]


def _known(repo: Repo) -> list[str]:
    names: list[str] = []
    with suppress(Exception):  # only to guess what was meant
        names += [*repo.scm.list_branches(), *repo.scm.list_tags()]
        names += [name for group in repo.experiments.ls().values() for name, _ in group]
    return names
