"""Downloads weights from the model hub, with progress, and a one-line error within seconds where that fails.

Files of the model hub are found in its cache first, where they are taken as they lie, so that a run repeats without a
network and with the same weights. huggingface_hub by itself retries for minutes before it
reports an unreachable hub.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wildseg.core.errors import ModelError, check_regular
from wildseg.core.progress import Bytes, bytes_of
from wildseg.core.text import error_line

TIMEOUT_S = 5.0  # for an answer of the hub, unless HF_HUB_ETAG_TIMEOUT says otherwise
BUSY = (429, 500, 502, 503, 504)  # HTTP codes after which a request is repeated once
# What transformers reads of a model beside its weights; tokenizers have files of many names.
BESIDE = (".json", ".txt", ".jinja", ".model", ".tiktoken")
USED: set[Path] = set()  # files of the hub that this process found or downloaded
INDEX = "model.safetensors.index.json"


def hub_file(
    what: str,
    repo: str,
    names: Sequence[str],
    revision: str | None = None,
    instead: str = "",
    together: Sequence[str] | None = None,
) -> Path:
    """Return the path of the first of `names` in the repository, downloaded into the hub's cache unless it is there.

    Args:
        what: the parameter and the weights, as an error line begins.
        repo: owner and name on the model hub.
        names: of files, the best one first.
        revision: a branch, tag or commit; None is the main branch.
        instead: what else may be done where it cannot be had, such as ``name a local file``.
        together: all files that are of use only together, this one among them; an empty list is all that there are.

    Raises:
        ModelError: it cannot be had: what, from where, why, and how to fetch it elsewhere.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    with _told(what, repo, names[:1] if together is None else together, revision, instead):
        cached = (try_to_load_from_cache(repo, name, revision=revision) for name in names)
        path = next((found for found in cached if isinstance(found, str)), None)
        if path is None:
            name = _first(repo, names, revision)
            bar: Any = bytes_of(f"{repo}/{name}")
            path = hf_hub_download(repo, name, revision=revision, etag_timeout=_patience(), tqdm_class=bar)
    USED.add(Path(path))
    return Path(path)


def hub_folder(what: str, repo: str, instead: str = "") -> Path:
    """Return a folder with a model in transformers' format: its weights as safetensors, and its configs.

    Args:
        what: the parameter and the model, as an error line begins.
        repo: owner and name on the model hub.
        instead: what else may be done where it cannot be had.

    Raises:
        ModelError: it cannot be had, or has no weights as safetensors.
    """
    from huggingface_hub import HfApi, constants

    config = hub_file(what, repo, ["config.json"], None, instead, ())
    here = config.parent
    if _whole(here):
        return here
    with _told(what, repo, (), None, instead):
        if constants.is_offline_mode():
            raise ConnectionError(OFFLINE)
        # Of the version whose config is here: a branch may move on in between.
        files = HfApi().model_info(repo, revision=here.name, timeout=_patience()).siblings or []
    names = [file.rfilename for file in files if "/" not in file.rfilename]
    for name in sorted(name for name in names if name.endswith(BESIDE)):
        hub_file(what, repo, [name], here.name, instead, ())
    parts = _weights(here)
    if missing := sorted(set(parts) - set(names)):
        raise ModelError(f"{what}: expected weights as safetensors, {repo} has no {missing[0]}")
    for part in parts:
        hub_file(what, repo, [part], here.name, instead, ())
    return here


OFFLINE = "HF_HUB_OFFLINE=1 forbids downloads, and it is not in the cache"


def _whole(folder: Path) -> bool:
    """Return whether a folder of the cache holds all weights, which come last, here as with transformers."""
    return all((folder / part).is_file() for part in _weights(folder))


def _weights(folder: Path) -> list[str]:
    index = folder / INDEX
    return _parts(index) if index.is_file() else ["model.safetensors"]


def _parts(index: Path) -> list[str]:
    """Return the names of the files that a model's weights are cut into; none of an index that cannot be read."""
    try:
        check_regular(index)
        found = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []
    return sorted(name for name in found if isinstance(name, str) and "/" not in name)


def _first(repo: str, names: Sequence[str], revision: str | None) -> str:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError

    if constants.is_offline_mode():
        raise ConnectionError(OFFLINE)
    for name in names:
        try:
            address = hf_hub_url(repo, name, revision=revision)
            _with_retry(lambda address=address: get_hf_file_metadata(address, timeout=_patience()))
        except EntryNotFoundError as error:
            missing = error
        else:
            return name
    raise missing


def _with_retry(ask: Any) -> None:  # noqa: ANN401
    try:
        ask()
    except OSError as error:
        if getattr(getattr(error, "response", None), "status_code", None) not in BUSY:
            raise
        time.sleep(1)
        ask()


def _patience() -> float:
    from huggingface_hub import constants

    return constants.HF_HUB_ETAG_TIMEOUT if os.environ.get("HF_HUB_ETAG_TIMEOUT") else TIMEOUT_S


@contextmanager
def _told(what: str, repo: str, names: Sequence[str], revision: str | None, instead: str) -> Iterator[None]:
    """Turn whatever goes wrong on the way into one line."""
    from huggingface_hub import constants

    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # networks, proxies, disks and the hub fail in as many ways as there are
        files, listed = "".join(f" {name}" for name in names), f" ({', '.join(names)})" if names else ""
        version = f" --revision {revision}" if revision else ""
        folder = f"models--{repo.replace('/', '--')}"
        raise ModelError(
            f"{what} could not be fetched from {constants.ENDPOINT}/{repo}{listed}: "
            f"{reason(error)}; where there is a network, run 'hf download {repo}{files}{version}' "
            f"and copy {folder} into {constants.HF_HUB_CACHE}{f', or {instead}' if instead else ''}"
        ) from error


def reason(error: BaseException) -> str:
    """Return a short reason why a file could not be downloaded or read."""
    chain = list(_causes(error))
    words = {type(link).__name__: link for link in reversed(chain)}
    status = next((s for link in chain if (s := getattr(getattr(link, "response", None), "status_code", None))), None)
    if "OfflineModeIsEnabled" in words:
        return OFFLINE
    if "GatedRepoError" in words:
        return "its licence must be accepted there first; then a token is needed (HF_TOKEN)"
    if "RepositoryNotFoundError" in words:
        return "there is no such repository, or it is private (HF_TOKEN)"
    if "RevisionNotFoundError" in words:
        return "the repository has no such revision"
    if "RemoteEntryNotFoundError" in words or "EntryNotFoundError" in words:
        return "the repository has no such file"
    if status:
        return f"the server answered {status}"
    if any("Timeout" in name for name in words):
        return f"no answer within {_patience():g} s"
    if any("UnpicklingError" in name for name in words) or "Weights only load failed" in str(error):
        return PICKLE
    for link in reversed(chain):  # the system's own message, at the end of the chain
        if isinstance(link, OSError) and link.strerror:
            return link.strerror.lower()
    return error_line(error, 160)


PICKLE = "a pickle file that holds more than tensors, which can run code; convert it to safetensors where it was made"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def report_progress(what: str, *folders: Path) -> Iterator[None]:
    """Show how much is written into `folders` meanwhile, for downloads by a library itself.

    Args:
        what: is loaded.
        folders: where the library puts it.
    """
    done = threading.Event()
    before = _size(folders)

    def look() -> None:
        bar: Bytes | None = None
        while not done.wait(0.5):
            if (grown := _size(folders) - before) > 0:
                bar = bar or Bytes(desc=what)
                bar.update(grown - bar.n)
        if bar is not None:
            bar.close()

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        with quiet_hub():
            yield
    finally:
        done.set()
        watcher.join()


def _size(folders: Sequence[Path]) -> int:
    sizes = 0
    for folder in folders:
        for path in folder.glob("*") if folder.is_dir() else ():
            try:
                sizes += path.stat().st_size
            except OSError:  # renamed in between
                continue
    return sizes


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Suppress the hub client's reports of retries, which would bury the error line."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
