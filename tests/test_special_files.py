"""Named pipes, sockets and devices in place of files: refused in one line, at once, by everything that reads a file."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.readers import READERS, REFUSED, Reader
from wildseg.artifacts.project import Artifacts
from wildseg.core.errors import DataError
from wildseg.frames.sources import find_sources

LIMIT_S = 20
# Read as bytes that came over a wire, or copied to make the files beside it: nothing is opened where the trap lies.
NOT_OPENED = ("server", "tiny CLIP", "CLIP config", "detector")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def plug(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may only be short
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")  # endless


def folder(path: Path) -> None:
    path.mkdir()


@pytest.fixture(autouse=True)
def _never_waits() -> Iterator[None]:
    def give_up(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"it waited for {LIMIT_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(LIMIT_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("special", [pipe, plug, device, folder])
@pytest.mark.parametrize("what", [name for name in READERS if not name.startswith(NOT_OPENED)])
def test_what_never_ends_is_refused_before_it_is_opened(what: str, special, tmp_path: Path) -> None:  # noqa: ANN001
    reader: Reader = READERS[what]
    path = tmp_path / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    special(path)
    if reader.answer is not REFUSED:
        reader.read(Artifacts(tmp_path), path)
        return
    with pytest.raises(reader.errors) as caught:
        reader.read(Artifacts(tmp_path), path)
    assert "\n" not in str(caught.value)
    assert not isinstance(caught.value, TimeoutError)


@pytest.mark.parametrize(("special", "name"), [(pipe, "a named pipe"), (plug, "a socket"), (device, "a device")])
@pytest.mark.parametrize(
    "what", ["params", "overrides", "given", "frames", "boxes", "truth", "mask", "encoder weights"]
)
def test_the_line_says_what_lies_there(what: str, special, name: str, tmp_path: Path) -> None:  # noqa: ANN001
    path = tmp_path / READERS[what].file
    path.parent.mkdir(parents=True, exist_ok=True)
    special(path)
    with pytest.raises(READERS[what].errors, match=f"{path.name}.*it is {name}, not a file"):
        READERS[what].read(Artifacts(tmp_path), path)


@pytest.mark.parametrize(("special", "name"), [(pipe, "a named pipe"), (plug, "a socket"), (device, "a device")])
def test_a_source_that_is_no_file_is_named(special, name: str, tmp_path: Path) -> None:  # noqa: ANN001
    special(tmp_path / "a.mp4")
    with pytest.raises(DataError, match=f"a.mp4: expected a video or a folder of videos and photos, found {name}"):
        find_sources(tmp_path / "a.mp4")
