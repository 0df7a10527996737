"""Ctrl-C, more than once: what the first one closes is closed, and nothing is said but one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import SOURCE

# A command that takes its time to close what is open, and to end.
COMMAND = """
import signal, sys, time
from wildseg.execution import interruption

interruption.SECONDS = 30.0  # on a machine that is busy

try:
    with interruption.handled():
        try:
            print("at work", flush=True)  # within, since the signal may come at once
            time.sleep(600)
        finally:
            print("closing", flush=True)
            time.sleep(0.2)
            print("closed", flush=True)
except KeyboardInterrupt:
    print("ending", flush=True)
    time.sleep(0.2)
    print(interruption.stopped(signal.SIGINT), end="", file=sys.stderr, flush=True)
    print("ended", flush=True)
    sys.exit(130)
"""


@pytest.mark.parametrize("again", [(), ("closing",), ("ending",), ("closing", "closed", "ending", "ended")])
def test_the_first_of_several_counts(again: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "command.py").write_text(COMMAND)
    with subprocess.Popen(
        [sys.executable, "command.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(SOURCE)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if lines[-1] in ("at work", *again):
                process.send_signal(signal.SIGINT)
        assert process.stderr.read() == "wildseg: stopped by Ctrl-C; run the same again to go on\n"
    assert lines == ["at work", "closing", "closed", "ending", "ended"]
    assert process.returncode == 130
