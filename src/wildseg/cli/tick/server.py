"""The server of the page: on 127.0.0.1 alone, for its own page alone.

Any page that is open in the browser can send requests to this machine. A request is answered if its Host is this
server, so that no foreign name that resolves to 127.0.0.1 gets anything, and if its Origin, where it has one, is this
server, too. What changes ticks must have an Origin, and the token that only the page was given.
"""

from __future__ import annotations

import json
import secrets
import sys
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from wildseg.cli.tick.session import Session
from wildseg.core.errors import WildsegError

ADDRESS = "127.0.0.1"
LARGEST = 2**20  # bytes of a request
ASSETS = Path(__file__).with_name("assets")
PAGES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
)
POLICY += "form-action 'none'; frame-ancestors 'none'"


class TickServer(ThreadingHTTPServer):
    """Serves one session until it is shut down."""

    daemon_threads = True

    def __init__(self, session: Session, port: int = 0) -> None:
        """Bind to a port of this machine, 0 being any that is free.

        Raises:
            OSError: the port is taken.
        """
        self.token = secrets.token_urlsafe(24)
        super().__init__((ADDRESS, port), partial(_Handler, session))

    @property
    def origins(self) -> tuple[str, ...]:
        """What a browser calls this server."""
        return tuple(f"http://{name}:{self.server_address[1]}" for name in (ADDRESS, "localhost"))

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Print the traceback of a request, unless the browser went away, as it does when a person turns pages fast."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: TickServer
    timeout = 30  # seconds that a silent connection is kept

    def __init__(self, session: Session, *arguments: object) -> None:
        self._session = session
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Answer with the page, its state, or a frame."""
        path = unquote(self.path.partition("?")[0])
        if not self._is_ours(changes=False):
            return
        if path in PAGES:
            name, kind = PAGES[path]
            self._answer(HTTPStatus.OK, _asset(name), kind)
        elif path == "/state.json":
            try:
                state = {**self._session.state(), "token": self.server.token}
            except WildsegError as error:
                self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            else:
                self._answer(HTTPStatus.OK, json.dumps(state).encode(), "application/json")
        elif path.startswith("/frames/") and path.endswith(".jpg"):
            try:
                image = self._session.image(path.removeprefix("/frames/").removesuffix(".jpg"))
            except WildsegError as error:
                self._refuse(HTTPStatus.NOT_FOUND, str(error))
            else:
                self._answer(HTTPStatus.OK, image, "image/jpeg")
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    def do_POST(self) -> None:
        """Save ticks."""
        if not self._is_ours(changes=True):
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/ticks" or not length.isdecimal() or int(length[:9]) > LARGEST:
            self._refuse(HTTPStatus.BAD_REQUEST, "expected ticks of a frame")
            return
        try:
            self._session.tick(json.loads(self.rfile.read(int(length))))
        except (WildsegError, ValueError, RecursionError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except OSError as error:  # a full disk: the page says so, and the tick is not lost there
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"ticks.csv: {error.strerror}")
        else:
            self._answer(HTTPStatus.NO_CONTENT, b"", "text/plain")

    def _is_ours(self, *, changes: bool) -> bool:
        origins = self.server.origins
        host, origin = self.headers.get("Host", ""), self.headers.get("Origin")
        trusted = f"http://{host}" in origins and (origin in origins or (origin is None and not changes))
        if trusted and changes:
            trusted = secrets.compare_digest(self.headers.get("X-Token", "").encode(), self.server.token.encode())
            trusted &= self.headers.get("Content-Type") == "application/json"
        if not trusted:
            self._refuse(HTTPStatus.FORBIDDEN, "this server answers its own page alone")
        return trusted

    def _refuse(self, status: HTTPStatus, reason: str) -> None:
        self.close_connection = True  # what else was sent is not read
        self._answer(status, reason.encode("utf-8", "replace"), "text/plain; charset=utf-8")

    def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        headers = {
            "Content-Type": kind, "Content-Length": str(len(content)), "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
        }  # fmt: skip
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing: the page shows what went wrong."""


def _asset(name: str) -> bytes:
    return (ASSETS / name).read_bytes()
