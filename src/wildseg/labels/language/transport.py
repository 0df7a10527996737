"""One HTTP request: the API key in its header and nowhere else, limits in bytes and seconds, no redirects."""

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
from wildseg.core.text import shorten

TIMEOUT = 600.0  # seconds for an answer as a whole: large models on a CPU take minutes
MAX_BYTES = 2**24  # bytes of a body
MAX_LETTERS = 200  # letters of a server's error message that are shown
RETRY_CODES = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}
BUSY_CODES = {429, 503, 529}


class TransientError(WildsegError):
    """A failure that another attempt may not have.

    pause: seconds of the server's Retry-After. busy: the server is overloaded.
    """

    def __init__(self, reason: str, pause: float = 0.0, *, busy: bool = False) -> None:
        """Store the reason."""
        super().__init__(reason)
        self.pause, self.busy = pause, busy


class QueryFailed(WildsegError):
    """A query without a reply; reason: the server's message.

    affects_all: any other query would fail for the same reason.
    """

    def __init__(self, line: str, reason: str, affects_all: bool = False) -> None:
        """Store the reason."""
        super().__init__(line)
        self.reason, self.affects_all = reason, affects_all


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key and the pictures are for the server that was named."""

    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401
        return None


def post(address: str, body: bytes, key: str) -> bytes:
    """Send a request, and return the body of the response.

    Raises:
        TransientError: no complete response.
        HTTPError: a permanent refusal.
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
            pause, busy = _retry_after(error.headers.get("Retry-After")), error.code in BUSY_CODES
            raise TransientError(f"HTTP {error.code}: {read_error(error, key)}", pause, busy=busy) from None
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        raise TransientError(redacted(words_of(str(cause)) or type(cause).__name__, key)) from None


def _retry_after(header: str | None) -> float:
    return float(header) if header and header.isdecimal() and len(header) < 6 else 0.0


def read_error(error: urllib.error.HTTPError, key: str) -> str:
    """Return the message of a refusal on one line, without the key."""
    try:
        content = error.read(2**16).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        content = ""
    body: Any = content
    with suppress(ValueError, RecursionError):
        body = json.loads(content)
    return shorten(redacted(message_of(body) or str(error.reason), key), MAX_LETTERS)  # half a key is one, too


def message_of(body: Any) -> str:  # noqa: ANN401
    """Return the message of an error, as long as it is, on one line; what would steer a terminal as escapes."""
    inner = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
    text = inner.get("message", inner) if isinstance(inner, dict) else inner
    return words_of(str(text))


# The key ---------------------------------------------------------------------------------------------------------


def key_for(url: str) -> str:
    """Return the API key for a server, empty if there is none; that of OpenAI is sent to OpenAI only.

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
    """Return whether a server is OpenAI's own."""
    host = urllib.parse.urlsplit(url).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")


def openai_key_hint(url: str) -> str:
    """Return the alternative environment variable, as a suffix to WILDSEG_API_KEY in messages."""
    return " or OPENAI_API_KEY" if is_openai(url) else ""


def redacted(text: str, key: str) -> str:
    """Return a text without the key."""
    return text.replace(key, "...") if key else text
