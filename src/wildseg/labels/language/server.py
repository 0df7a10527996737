"""A language model behind an OpenAI-compatible server: Ollama, vLLM, ``transformers serve``, or one on the internet.

Transient failures (no connection, too many requests, an error of the server, a body that is no chat completion) are
retried with exponential backoff; permanent ones (no such model, no key) are raised at once. Whether a refusal concerns
one query alone, for instance because of a content filter or the image's size, is tested by a control query with a grey
image.
"""

from __future__ import annotations

import base64
import io
import json
import random
import threading
import time
import urllib.error
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from queue import SimpleQueue
from threading import Event
from typing import Any

from PIL import Image

from wildseg.core.errors import ModelError, ParamsError
from wildseg.core.text import shorten
from wildseg.labels.language.messages import ChatQuery, ChatReply, ImageInput, QueryRefused
from wildseg.labels.language.replies import TOP_LOGPROBS, parse_reply
from wildseg.labels.language.transport import (
    MAX_LETTERS,
    QueryFailed,
    TransientError,
    is_openai,
    key_for,
    openai_key_hint,
    post,
    read_error,
    redacted,
)
from wildseg.labels.parsing import KEY

ATTEMPTS = 6
FIRST_PAUSE = 1.0  # seconds; 31 in all, unless the server sends Retry-After
LONGEST_PAUSE = 60.0  # whatever Retry-After says
JPEG_QUALITY = 92
# Key, payment, model or address; any other refusal may concern the query.
AFFECTS_ALL = {401, 402, 404, 405}
# Keys of fewer letters are placeholders such as "none", and are not redacted from replies.
SECRET = 8


@dataclass(frozen=True)
class ServerModel:
    """A model behind a server.

    requests: concurrent requests. per_minute: rate limit, None for none. code: the fingerprint of this client, part of
    its identity.
    """

    url: str
    model: str
    constrained: bool
    requests: int = 4
    per_minute: float | None = None
    code: str = ""
    _limiter: _RateLimiter = field(init=False, repr=False, compare=False)

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
        object.__setattr__(self, "_limiter", _limiter_of(self.url, self.per_minute))

    @property
    def identity(self) -> Sequence[Any]:
        """The model's name and the code of this client; not the address, on which its replies do not depend."""
        return ["server", self.model, self.constrained, self.code]

    @property
    def window(self) -> int:
        """Some frames for each request, so that a slow one holds up few."""
        return 4 * self.requests

    def complete(self, queries: Sequence[ChatQuery]) -> Iterator[tuple[int, ChatReply | QueryRefused]]:
        """Yield (index of a query, its reply), each as soon as it is complete.

        Raises:
            ModelError: the server does not respond, or refuses every query. Replies until then have been yielded.
        """
        failed: Exception | None = None
        waiting, running = iter(enumerate(queries)), 0
        answered: SimpleQueue[tuple[int, ChatReply | QueryRefused | Exception]] = SimpleQueue()
        stopped = Event()
        try:
            while True:
                while failed is None and running < self.requests and (found := next(waiting, None)):
                    # Of its own, and a daemon, not one of a pool: whoever stops this program does not want to wait for
                    # the server, and Python waits at its end for every thread of a pool.
                    arguments = (*found, stopped, answered)
                    threading.Thread(target=self._work, args=arguments, name="language", daemon=True).start()
                    running += 1
                if not running:
                    break
                place, reply = answered.get()
                running -= 1
                if isinstance(reply, Exception):
                    failed = failed or reply
                else:
                    yield place, reply
        finally:
            stopped.set()
        if failed is not None:
            raise failed

    def _work(
        self,
        place: int,
        query: ChatQuery,
        stopped: Event,
        answered: SimpleQueue[tuple[int, ChatReply | QueryRefused | Exception]],
    ) -> None:
        try:
            answered.put((place, self._reply(query, stopped)))
        except Exception as error:
            answered.put((place, error))

    def _reply(self, query: ChatQuery, stopped: Event) -> ChatReply | QueryRefused:
        """Return the reply to a query; where there is none, test whether that concerns this query alone.

        If the control query succeeds, the query is sent once more, since the server may have recovered, and then counts
        as refused. If it fails, too, the failure is raised.
        """
        try:
            return self._attempts(query, ATTEMPTS, stopped)
        except QueryFailed as error:
            failure = error
        if not failure.affects_all:
            with suppress(QueryFailed):
                self._attempts(control_query(query), 1, stopped)
                try:
                    return self._attempts(query, 1, stopped)
                except QueryFailed as again:
                    other = "other words" if query.image is None else "a grey picture"
                    return QueryRefused(f"{self.url} has no answer about it, though one about {other} ({again.reason})")
        raise ModelError(f"label.language.server: {failure}") from None

    def _attempts(self, query: ChatQuery, number: int, stopped: Event) -> ChatReply:
        body = json.dumps(self._body(query)).encode()
        pause, reason, busy, key = FIRST_PAUSE, "", False, key_for(self.url)
        for attempt in range(number):
            if attempt:  # not all at the same time, so that those who failed together do not return together
                stopped.wait(pause * random.uniform(0.8, 1.2))
                pause = min(2 * pause, LONGEST_PAUSE)
            self._limiter.wait(stopped)
            if stopped.is_set():
                raise QueryFailed("nobody waits for an answer any more", "stopped", affects_all=True)
            begun = time.monotonic()
            try:
                reply = parse_reply(post(self._address, body, key), query, time.monotonic() - begun)
                return replace(reply, text=redacted(reply.text, key)) if len(key) >= SECRET else reply
            except TransientError as error:
                reason, busy = shorten(redacted(str(error), key), MAX_LETTERS), error.busy
                pause = min(max(pause, error.pause), LONGEST_PAUSE)
            except urllib.error.HTTPError as error:
                raise self._refused(error) from None
        raise QueryFailed(
            f"{self.url} did not answer in {number} attempts ({reason}); check that it runs; replies so far are "
            "cached, and the next run continues from there",
            reason,
            busy,
        )

    @property
    def _address(self) -> str:
        return self.url.rstrip("/") + "/chat/completions"

    def _body(self, query: ChatQuery) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages(query),
            "temperature": query.temperature,
            "seed": query.seed,
            # OpenAI's newer models refuse the name that all other servers know.
            "max_completion_tokens" if is_openai(self.url) else "max_tokens": 1 if query.yes_no else query.max_tokens,
            "stream": False,
        }
        if query.yes_no:
            body |= {"logprobs": True, "top_logprobs": TOP_LOGPROBS}
        if query.names is not None and self.constrained:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "labels", "strict": True, "schema": schema(query.names)},
            }
        return body

    def _refused(self, error: urllib.error.HTTPError) -> QueryFailed:
        """Return a permanent refusal with advice for the user."""
        key = key_for(self.url)
        message = read_error(error, key)
        if error.code in (401, 403):
            has = "it refused the key of the environment" if key else "it requires a key, and there is none"
            advice = f"{has}; set WILDSEG_API_KEY{openai_key_hint(self.url)}"
        elif error.code == 404 or "model" in message.lower() and "not found" in message.lower():
            advice = (
                f"expected a model it has, found {self.model!r}, or an address that ends in /v1, found {self.url!r}"
            )
        elif any(word in message.lower() for word in ("response_format", "schema", "grammar", "guided")):
            advice = "it does not take the JSON schema of the answer; set label.language.constrained to false"
        else:
            advice = "it refused the query"
        reason = f"HTTP {error.code}: {message}"
        return QueryFailed(f"{advice} ({reason})", reason, error.code in AFFECTS_ALL or error.code < 400)


def control_query(query: ChatQuery) -> ChatQuery:
    """Return a control query of the same form, without the content that a server may refuse."""
    if query.image is None:
        return replace(query, messages=(("user", "What do you know of this? Nothing is an answer."),))
    emptied = tuple((role, text if role == "user" else "-") for role, text in query.messages)
    return replace(query, messages=emptied, image=ImageInput.grey())


def messages(query: ChatQuery) -> list[dict[str, Any]]:
    """Return a query as messages of the chat API, the image in front of the first text."""
    turns: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in query.messages]
    if query.image is not None:
        image = {"type": "image_url", "image_url": {"url": _data_url(query.image)}}
        turns[0]["content"] = [image, {"type": "text", "text": turns[0]["content"]}]
    return turns


def schema(names: Sequence[str]) -> dict[str, Any]:
    """Return the JSON schema of an answer that names some of `names`."""
    annotations = {"type": "array", "items": {"type": "string", "enum": list(names)}}
    return {
        "type": "object",
        "properties": {KEY: annotations},
        "required": [KEY],
        "additionalProperties": False,
    }


def _data_url(image: ImageInput) -> str:
    content = io.BytesIO()
    Image.fromarray(image.pixels).save(content, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


@cache
def _limiter_of(url: str, per_minute: float | None) -> _RateLimiter:
    """Return the rate limiter of a server, shared by its models."""
    return _RateLimiter(per_minute)


class _RateLimiter:
    """A rate limiter: spaces the starts of requests of all threads."""

    def __init__(self, per_minute: float | None) -> None:
        self._step = 60 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self, stopped: Event) -> None:
        """Wait for the next slot, or until `stopped` is set."""
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._step
        stopped.wait(turn - now)
