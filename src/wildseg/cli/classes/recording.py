"""DVC and outputs that were changed beside it: which stages dvc.lock described, and letting it describe them again.

A stage is recorded with its new outputs only if it was up to date before, so that what dvc.lock says of code and data
stays true. DVC's run cache, which answers for a clean run, gets none of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

from wildseg.core.errors import WildsegError, words_of


def up_to_date(root: Path, stages: Sequence[str]) -> list[str]:
    """Return those of some stages that dvc.lock describes as they are, by DVC's own comparison; none without DVC.

    Raises:
        WildsegError: DVC cannot compare, as while another command of DVC runs.
    """
    if not (root / "dvc.lock").is_file() or not (root / ".dvc").is_dir():
        return []
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)  # it lists frozen stages and locks of killed processes
    try:
        with chdir(root), Repo() as repo:
            changed = repo.status()
            locked = [
                stage.name for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml" and not _is_new(stage)
            ]
    except DvcException as error:
        raise WildsegError(f"dvc status: {words_of(str(error))}") from error
    return [name for name in stages if name in locked and name not in changed]


def _is_new(stage: object) -> bool:
    return not any(getattr(out, "hash_info", None) for out in getattr(stage, "outs", ()))


def record(root: Path, stages: Sequence[str]) -> None:
    """Let dvc.lock describe the inputs, parameters and outputs of some stages as they are now.

    Raises:
        WildsegError: DVC cannot, as while another command of DVC runs.
    """
    if not stages:
        return
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)
    try:
        with chdir(root), Repo() as repo, repo.lock:
            for name in stages:
                stage = repo.stage.load_one(name=name)
                stage.save(run_cache=False)
                stage.commit()
                stage.dvcfile.dump_stages([stage], update_pipeline=False)
    except DvcException as error:
        raise WildsegError(f"dvc.lock: {words_of(str(error))}; run the same command again") from error
