"""One question over HTTP: the key in its header and nowhere else, limits in bytes and seconds, no redirects."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from typing import Any

from wildseg.core.errors import ModelError, WildsegError, words_of

TIMEOUT = 600.0  # seconds for an answer as a whole: large models on a CPU take minutes
MAX_BYTES = 2**24  # bytes of a body
MAX_LETTERS = 200  # letters of what a server says that are shown
RETRY_CODES = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
BUSY_CODES = {429, 503, 529}


class TransientError(WildsegError):
    """What may be gone at the next attempt.

    pause: for how many seconds the server asked. busy: it has too much to do, whatever it is asked.
    """

    def __init__(self, reason: str, pause: float = 0.0, *, busy: bool = False) -> None:
        """Remember why."""
        super().__init__(reason)
        self.pause, self.busy = pause, busy


class QueryFailed(WildsegError):
    """A question without an answer, in words for a person; reason: what the server said.

    affects_all: it says that any question would meet the same.
    """

    def __init__(self, line: str, reason: str, affects_all: bool = False) -> None:
        """Remember why."""
        super().__init__(line)
        self.reason, self.affects_all = reason, affects_all


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key and the pictures are for the server that was named."""

    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401
        return None


def post(address: str, body: bytes, key: str) -> bytes:
    """Send a question, and return the body of the answer.

    Raises:
        Passing: there is none, or not a whole one.
        HTTPError: a refusal that would come again.
    """
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = urllib.request.Request(address, body, headers)
    deadline = time.monotonic() + TIMEOUT
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=TIMEOUT) as answer:
            content = b""
            while chunk := answer.read1(2**16):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise TransientError(f"its answer is longer than {MAX_BYTES:,} bytes")
                if time.monotonic() > deadline:
                    raise TransientError(f"its answer took longer than {TIMEOUT:.0f} s")
            if (length := answer.headers.get("Content-Length", "")).isdecimal() and len(content) < int(length):
                raise TransientError("its answer ended half-way")
            return content
    except urllib.error.HTTPError as error:
        if error.code in RETRY_CODES:
            pause, busy = _pause(error.headers.get("Retry-After")), error.code in BUSY_CODES
            raise TransientError(f"HTTP {error.code}: {read_error(error, key)}", pause, busy=busy) from None
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        raise TransientError(redacted(words_of(str(cause)) or type(cause).__name__, key)) from None


def _pause(wish: str | None) -> float:
    return float(wish) if wish and wish.isdecimal() and len(wish) < 6 else 0.0


def read_error(error: urllib.error.HTTPError, key: str) -> str:
    """Return what a server says to a refusal, on one line, without the key."""
    try:
        content = error.read(2**16).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        content = ""
    said: Any = content
    with suppress(ValueError, RecursionError):
        said = json.loads(content)
    return short(redacted(message_of(said) or str(error.reason), key))


def message_of(said: Any) -> str:  # noqa: ANN401
    """Return the message of an error, as long as it is, on one line; what would steer a terminal as escapes."""
    inner = said.get("error", said.get("detail", said)) if isinstance(said, dict) else said
    text = inner.get("message", inner) if isinstance(inner, dict) else inner
    return words_of(str(text))


def short(line: str) -> str:
    """Return the beginning of a line; the key is to be taken out before, since half a key is one, too."""
    return line if len(line) <= MAX_LETTERS else line[: MAX_LETTERS - 3] + "..."


# The key ---------------------------------------------------------------------------------------------------------


def key_for(url: str) -> str:
    """Return the key for a server, empty if there is none; that for OpenAI goes nowhere else.

    Raises:
        ModelError: it cannot stand in a header. Whatever would try to put it there would show it in its complaint.
    """
    own = os.environ.get("WILDSEG_API_KEY", "")
    key = (own or (os.environ.get("OPENAI_API_KEY", "") if is_openai(url) else "")).strip()
    if not re.fullmatch(r"[!-~]*", key):
        raise ModelError(
            f"WILDSEG_API_KEY{openai_key_hint(url)}: expected plain letters, digits and signs, on one line, "
            "found something else among them"
        )
    return key


def is_openai(url: str) -> bool:
    """Say whether a server is OpenAI's own."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")


def openai_key_hint(url: str) -> str:
    """Return which other variable may hold the key, to go on after the name of ours."""
    return " or OPENAI_API_KEY" if is_openai(url) else ""


def redacted(text: str, key: str) -> str:
    """Return a text without the key."""
    return text.replace(key, "...") if key else text
