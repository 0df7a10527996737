"""From what a server sends back to a reply: a chat completion in any of the forms in which servers write one."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from wildseg.core.errors import ModelError
from wildseg.labels.language.messages import ChatQuery, ChatReply
from wildseg.labels.language.transport import QueryFailed, TransientError, message_of

TOP_LOGPROBS = 20  # likeliest words asked for, the most that OpenAI gives


def parse_reply(content: bytes, query: ChatQuery, seconds: float) -> ChatReply:
    """Read the body of an answer. What a model thought before it spoke is put before it, as ``<think>...</think>``.

    Raises:
        Passing: it is no answer; another attempt may bring one.
        Unanswered: the server withheld it.
        ModelError: likelihoods were asked for, and the server gives none.
    """
    try:
        body = _streamed(content) if content.lstrip().startswith((b"data:", b"event:", b":")) else json.loads(content)
        if not body.get("choices") and body.get("error"):
            raise TransientError(f"it answers with an error: {message_of(body)}")
        choice = body["choices"][0]
        message, end = choice["message"], choice.get("finish_reason")
        text = _words(message.get("content")) or _words(message.get("refusal"))
        if thought := _words(message.get("reasoning_content")) or _words(message.get("reasoning")):
            text = f"<think>{thought}</think>\n{text}"
        usage: dict[str, Any] = body["usage"] if isinstance(body.get("usage"), dict) else {}
        counts = [int(_amount(usage.get(name)) or 0) for name in ("prompt_tokens", "completion_tokens")]
        likely = choice.get("logprobs") if query.yes_no else None
        top = likely["content"][0]["top_logprobs"] if likely else None
        yes = yes_probability({str(entry["token"]): float(entry["logprob"]) for entry in top}) if top else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise TransientError(f"its answer is no chat completion ({type(error).__name__})") from error
    if end == "content_filter":
        raise QueryFailed("it withheld the answer (content_filter)", "content_filter")
    if query.yes_no and not top:
        raise ModelError(
            "label.language.server: vlm_yes_no needs the likelihoods of words (logprobs), and this server gives none; "
            "use another label.method, or weights on this machine (label.language.server: null)"
        )
    return ChatReply(text, end == "length", counts[0], counts[1], seconds, _amount(usage.get("cost")), yes)


def _words(content: Any) -> str:  # noqa: ANN401
    """Return what is said: a text, or a list of parts of which some are texts.

    Raises:
        TypeError: it is something else.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise TypeError("not words")
    parts = (part.get("text") if isinstance(part, dict) else part for part in content)
    return "".join(part for part in parts if isinstance(part, str))


def _amount(value: Any) -> float | None:  # noqa: ANN401
    """Return a number that counts something, or None."""
    counts = isinstance(value, (int, float)) and math.isfinite(value) and value >= 0
    return float(value) if counts else None


def _streamed(content: bytes) -> dict[str, Any]:
    """Return as one answer what a server sent in pieces, though it was asked not to.

    Raises:
        ValueError: the last piece is missing.
    """
    message: dict[str, list[str]] = {}
    whole: dict[str, Any] = {"finish_reason": None}
    usage = None
    for line in content.splitlines():
        if not line.startswith(b"data:") or line[5:].strip() == b"[DONE]":
            continue
        piece = json.loads(line[5:])
        usage = piece.get("usage") or usage
        for choice in piece.get("choices", ())[:1]:
            for name, part in (choice.get("delta") or {}).items():
                if name != "role":
                    message.setdefault(name, []).append(_words(part))
            whole["finish_reason"] = choice.get("finish_reason") or whole["finish_reason"]
            if choice.get("logprobs"):
                whole.setdefault("logprobs", choice["logprobs"])
    if whole["finish_reason"] is None:
        raise ValueError("half an answer")
    whole["message"] = {name: "".join(parts) for name, parts in message.items()}
    return {"choices": [whole], "usage": usage}


def yes_probability(logprobs: Mapping[str, float]) -> float | None:
    """Return the probability of yes against no, whatever their case and spaces; None if neither is among the words."""
    shares = {"yes": 0.0, "no": 0.0}
    for word, logprob in logprobs.items():
        plain = word.strip(" ▁Ġ\n\t").lower()
        if plain in shares and not math.isnan(logprob):
            shares[plain] += math.exp(min(logprob, 0.0))
    total = sum(shares.values())
    return shares["yes"] / total if total else None
