"""A model hub on this machine: files of random weights, served as the hub serves them, and its ways to fail."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

COMMIT = "c0ffee" * 6 + "c0ff"


class Hub:
    """Repositories by name, each a mapping of file names to contents; `slow` seconds pass before any answer."""

    def __init__(self) -> None:
        """Begin to serve, on a port of its own."""
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.slow = 0.0
        self.pause = 0.0  # between two parts of a file
        self.status: int | None = None  # what is answered to everything
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(hub) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:  # noqa: ANN401
                """Say nothing."""

            def do_HEAD(self) -> None:  # noqa: N802
                self._answer(with_body=False)

            def do_GET(self) -> None:  # noqa: N802
                self._answer(with_body=True)

            def _answer(self, with_body: bool) -> None:
                hub.asked.append(f"{self.command} {self.path}")
                time.sleep(hub.slow)
                status, headers, body = hub.answer(self.path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                for start in range(0, len(body) if with_body else 0, 2**20):
                    self.wfile.write(body[start : start + 2**20])
                    time.sleep(hub.pause)

        return Handler

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return (status, headers, body) of a path of the hub."""
        if self.status is not None:
            return self.status, {}, b""
        path = path.split("?")[0].strip("/")
        if path.startswith("api/models/"):
            repo = path.removeprefix("api/models/").split("/revision/")[0]
            if repo not in self.repositories:
                return 401, {"X-Error-Code": "RepoNotFound"}, b""
            siblings = [{"rfilename": name} for name in self.repositories[repo]]
            return 200, {}, json.dumps({"id": repo, "sha": COMMIT, "siblings": siblings}).encode()
        repo, _, rest = path.partition("/resolve/")
        name = rest.partition("/")[2]
        if repo not in self.repositories:
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        if name not in self.repositories[repo]:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
        body = self.repositories[repo][name]
        return 200, {"ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT}, body


@contextmanager
def serving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve an empty hub, with an empty cache in `folder`, to this process and those that it starts."""
    hub = Hub()
    point_to(hub.address, folder, monkeypatch)
    try:
        yield hub
    finally:
        hub.close()


def point_to(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the hub's client ask `address`, and keep what it fetches in `folder`."""
    for name, value in {"HF_ENDPOINT": address, "HF_HOME": str(folder), "HF_HUB_ETAG_TIMEOUT": "1"}.items():
        monkeypatch.setenv(name, value)
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    # What the client read from the environment when it was imported.
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 1)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def nobody() -> str:
    """Return an address of this machine where nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
