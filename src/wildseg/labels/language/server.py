"""A language model behind an OpenAI-compatible server: Ollama, vLLM, ``transformers serve``, or one on the internet.

What fails in passing (no connection, too many requests, an error of the server, a body that is no answer) is tried
again, each time after twice as long; what will fail again (no such model, no key) is told at once. The key comes from
the environment and goes into one header: it is no attribute of anything that is printed, kept or compared.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import math
import os
import random
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from wildseg.errors import ModelError, ParamsError, WildsegError
from wildseg.labels.language.messages import Ask, Picture, Reply
from wildseg.labels.parsing import KEY

ATTEMPTS = 6
FIRST_PAUSE = 1.0  # seconds; 31 in all, but for what a server asks for
LONGEST_PAUSE = 60.0  # whatever a server asks for
TIMEOUT = 600.0  # seconds for an answer as a whole: large models on a CPU take minutes
LARGEST = 2**24  # bytes of a body
JPEG_QUALITY = 92
TOP = 20  # likeliest words asked for, the most that OpenAI gives
AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529}


@dataclass(frozen=True)
class Server:
    """Where a model is asked. requests: how many at the same time; per_minute: how many are begun, None for any."""

    url: str
    model: str
    constrained: bool
    requests: int = 4
    per_minute: float | None = None
    _pace: _Pace = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the address.

        Raises:
            ParamsError: it is none, or holds a name and password.
        """
        parts = urllib.parse.urlsplit(self.url)
        if parts.username or parts.password or parts.query:
            raise ParamsError(
                "label.language.server: expected an address without a key, since params.yaml is shared; put the key "
                "into the environment variable WILDSEG_API_KEY"
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ParamsError(
                f"label.language.server: expected an address such as http://localhost:11434/v1, found {self.url!r}"
            )
        object.__setattr__(self, "_pace", _Pace(self.per_minute))

    @property
    def identity(self) -> Sequence[Any]:
        """The model's name; not the address, since a model that moves says the same."""
        return ["server", self.model, self.constrained]

    @property
    def window(self) -> int:
        """Some frames for each request, so that a slow one holds up few."""
        return 4 * self.requests

    def answer(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """Yield the place of a question in `asks` and its answer, each as soon as it is there.

        Raises:
            ModelError: the server does not answer, or refuses. What it answered until then has been yielded.
        """
        failed: Exception | None = None
        with ThreadPoolExecutor(self.requests) as pool:
            running: dict[Future[Reply], int] = {}
            waiting = iter(enumerate(asks))
            while True:
                while failed is None and len(running) < self.requests and (found := next(waiting, None)):
                    running[pool.submit(self._ask, found[1])] = found[0]
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    place = running.pop(future)
                    if error := future.exception():
                        failed = failed or error  # type: ignore[assignment]
                    else:
                        yield place, future.result()
        if failed is not None:
            raise failed

    def _ask(self, ask: Ask) -> Reply:
        body = json.dumps(self._body(ask)).encode()
        pause, reason = FIRST_PAUSE, ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(pause * random.uniform(0.8, 1.2))  # so that those who failed together do not return together
                pause = min(2 * pause, LONGEST_PAUSE)
            self._pace.wait()
            begun = time.monotonic()
            try:
                return reply_of(_post(self._address, body, _key(self.url)), ask, time.monotonic() - begun)
            except _Passing as error:
                reason = str(error)
                pause = min(max(pause, error.pause), LONGEST_PAUSE)
            except urllib.error.HTTPError as error:
                self._refused(error)
        raise ModelError(
            f"label.language.server: {self.url} did not answer in {ATTEMPTS} attempts ({reason}); see that it runs; "
            "what was answered is kept, and the next run goes on from there"
        )

    @property
    def _address(self) -> str:
        return self.url.rstrip("/") + "/chat/completions"

    def _body(self, ask: Ask) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages(ask),
            "temperature": ask.temperature,
            "seed": ask.seed,
            "max_tokens": ask.max_tokens,
            "stream": False,
        }
        if ask.yes_no:
            body |= {"max_tokens": 1, "logprobs": True, "top_logprobs": TOP}
        if ask.names is not None and self.constrained:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "labels", "strict": True, "schema": schema(ask.names)},
            }
        return body

    def _refused(self, error: urllib.error.HTTPError) -> None:
        """Raise what a person can do about a refusal that would come again.

        Raises:
            ModelError: always.
        """
        said = _scrubbed(_said(error), _key(self.url))
        if error.code in (401, 403):
            has = "it refused the key of the environment" if _key(self.url) else "it wants a key, and there is none"
            advice = f"{has}; set WILDSEG_API_KEY{_openai(self.url)}"
        elif error.code == 404 or "model" in said.lower() and "not found" in said.lower():
            advice = (
                f"expected a model it has, found {self.model!r}, or an address that ends in /v1, found {self.url!r}"
            )
        elif any(word in said.lower() for word in ("response_format", "schema", "grammar", "guided")):
            advice = "it does not take the JSON schema of the answer; set label.language.constrained to false"
        else:
            advice = "it refused the question"
        raise ModelError(f"label.language.server: {advice} (HTTP {error.code}: {said})") from None


def messages(ask: Ask) -> list[dict[str, Any]]:
    """Return a question as a server wants it, the picture in front of the first words."""
    said: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in ask.messages]
    if ask.picture is not None:
        picture = {"type": "image_url", "image_url": {"url": _data_url(ask.picture)}}
        said[0]["content"] = [picture, {"type": "text", "text": said[0]["content"]}]
    return said


def schema(names: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of an answer that names some of `names`."""
    annotations = {"type": "array", "items": {"type": "string", "enum": list(names)}}
    return {
        "type": "object",
        "properties": {KEY: annotations},
        "required": [KEY],
        "additionalProperties": False,
    }


def reply_of(content: bytes, ask: Ask, seconds: float) -> Reply:
    """Read the body of an answer.

    Raises:
        _Passing: it is no answer; another attempt may bring one.
        ModelError: likelihoods were asked for, and the server gives none.
    """
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text = choice["message"].get("content") or ""
        usage = body.get("usage") or {}
        counts = [int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")]
        cost = usage.get("cost")
        cost = float(cost) if isinstance(cost, (int, float)) and math.isfinite(cost) else None
        likely = choice.get("logprobs") if ask.yes_no else None
        top = likely["content"][0]["top_logprobs"] if likely else None
        yes = yes_of({str(entry["token"]): float(entry["logprob"]) for entry in top}) if top else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise _Passing(f"its answer is no chat completion ({type(error).__name__})") from error
    if not isinstance(text, str):
        raise _Passing("its answer holds no text")
    if ask.yes_no and not top:
        raise ModelError(
            "label.language.server: vlm_yes_no needs the likelihoods of words (logprobs), and this server gives none; "
            "use another label.method, or weights on this machine (label.language.server: null)"
        )
    return Reply(text, choice.get("finish_reason") == "length", counts[0], counts[1], seconds, cost, yes)


def yes_of(logprobs: Mapping[str, float]) -> float | None:
    """Return the probability of yes against no, whatever their case and spaces; None if neither is among the words."""
    shares = {"yes": 0.0, "no": 0.0}
    for word, logprob in logprobs.items():
        plain = word.strip(" ▁Ġ\n\t").lower()
        if plain in shares:
            shares[plain] += math.exp(min(logprob, 0.0))
    total = sum(shares.values())
    return shares["yes"] / total if total else None


# The wire --------------------------------------------------------------------------------------------------------


class _Passing(WildsegError):
    """What may be gone at the next attempt; pause: for how many seconds the server asked."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key and the pictures are for the server that was named."""

    def redirect_request(self, *_: Any) -> None:  # noqa: ANN401
        return None


class _Pace:
    """Spreads the beginnings of requests over time, whichever thread they are from."""

    def __init__(self, per_minute: float | None) -> None:
        self._step = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._step
        time.sleep(turn - now)


def _post(address: str, body: bytes, key: str) -> bytes:
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
                if len(content) > LARGEST:
                    raise _Passing(f"its answer is longer than {LARGEST:,} bytes")
                if time.monotonic() > deadline:
                    raise _Passing(f"its answer took longer than {TIMEOUT:.0f} s")
            if (length := answer.headers.get("Content-Length", "")).isdecimal() and len(content) < int(length):
                raise _Passing("its answer ended half-way")
            return content
    except urllib.error.HTTPError as error:
        if error.code in AGAIN:
            said = _scrubbed(_said(error), key)
            raise _Passing(f"HTTP {error.code}: {said}", _pause(error.headers.get("Retry-After"))) from None
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", None) or error
        raise _Passing(_scrubbed(" ".join(str(cause).split()) or type(cause).__name__, key)) from None


def _pause(wish: str | None) -> float:
    return float(wish) if wish and wish.isdecimal() and len(wish) < 6 else 0.0


def _said(error: urllib.error.HTTPError) -> str:
    """Return what a server says to a refusal, on one line."""
    try:
        content = error.read(2**16).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        content = ""
    text: Any = content
    with suppress(ValueError, RecursionError):
        body = json.loads(content)
        inner = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
        text = inner.get("message", inner) if isinstance(inner, dict) else inner
    line = " ".join(str(text).split()) or str(error.reason)
    return line if len(line) <= 200 else line[:197] + "..."


def _data_url(picture: Picture) -> str:
    content = io.BytesIO()
    Image.fromarray(picture.pixels).save(content, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


# The key ---------------------------------------------------------------------------------------------------------


def _key(url: str) -> str:
    """Return the key for a server, empty if there is none; that for OpenAI goes nowhere else."""
    own = os.environ.get("WILDSEG_API_KEY", "")
    return (own or (os.environ.get("OPENAI_API_KEY", "") if _is_openai(url) else "")).strip()


def _is_openai(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")


def _openai(url: str) -> str:
    return " or OPENAI_API_KEY" if _is_openai(url) else ""


def _scrubbed(text: str, key: str) -> str:
    return text.replace(key, "...") if key else text
