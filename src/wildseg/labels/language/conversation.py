"""Runs conversations concurrently, caches each reply on arrival, and retries replies that cannot be parsed.

A conversation about a frame is a generator: it yields queries, is sent their replies, and returns its conclusion. So a
method is written for one frame and one model, while servers get concurrent queries and local models get batches. A run
that is killed loses the queries in flight and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from wildseg.labels.interface import LabelResult, NamedImage
from wildseg.labels.language.messages import ChatQuery, ChatReply, ImageInput, LanguageModels, QueryRefused
from wildseg.labels.parsing import Parsed, Vocabulary, parse, without_reasoning

Conclusion = TypeVar("Conclusion")
Conversation = Generator[Sequence[ChatQuery], Sequence[ChatReply], Conclusion]
Conversations = Generator[Sequence[ChatQuery], Sequence[ChatReply | QueryRefused], list[Conclusion]]


class NoReply(Exception):
    """A query of this conversation was refused, though others are not."""


def label_frames(
    frames: Sequence[NamedImage], language: LanguageModels, about: Callable[[ImageInput], Conversation[LabelResult]]
) -> Iterator[LabelResult]:
    """Yield the conclusion of the conversation `about` the image of each of `frames`, in their order.

    A frame with a refused query has a failed result.

    Raises:
        ModelError: a model cannot be used; replies until then are cached.
        DataError: a frame cannot be read.
    """
    window = max(language.vision.window, language.text.window)
    for start in range(0, len(frames), window):
        part = frames[start : start + window]
        conversations = [
            _or_failed(about(ImageInput(shrink(frame.load(), language.params.max_side)))) for frame in part
        ]
        yield from run(gather(conversations), language)


def _or_failed(conversation: Conversation[LabelResult]) -> Conversation[LabelResult]:
    try:
        return (yield from conversation)
    except NoReply as refused:
        return LabelResult(np.zeros(0), 0.0, failed=str(refused))


def gather(conversations: Sequence[Conversation[Conclusion]]) -> Conversations[Conclusion]:
    """Combine several conversations into one, whose queries are those of all.

    A refused query is thrown into its conversation as `NoReply`; if that is not caught, it ends all of them.
    """
    concluded: dict[int, Conclusion] = {}
    received: dict[int, Sequence[ChatReply | QueryRefused] | None] = dict.fromkeys(range(len(conversations)))
    while received:
        pending: dict[int, Sequence[ChatQuery]] = {}
        for number, replies in received.items():
            try:
                pending[number] = _advance(conversations[number], replies)
            except StopIteration as end:
                concluded[number] = end.value
        replies_in_order = iter((yield [query for queries in pending.values() for query in queries]) if pending else ())
        received = {number: [next(replies_in_order) for _ in queries] for number, queries in pending.items()}
    return [concluded[number] for number in range(len(conversations))]


def _advance(
    conversation: Conversation[Any], replies: Sequence[ChatReply | QueryRefused] | None
) -> Sequence[ChatQuery]:
    """Return the next queries of a conversation; `replies` None starts it."""
    if replies is None:
        return next(conversation)
    if refusal := next((reply for reply in replies if isinstance(reply, QueryRefused)), None):
        return conversation.throw(NoReply(refusal.reason))
    return conversation.send([reply for reply in replies if isinstance(reply, ChatReply)])


def run(conversations: Conversations[Conclusion], language: LanguageModels) -> list[Conclusion]:
    """Run conversations, and return their conclusions.

    Raises:
        ModelError: a model cannot be used.
    """
    try:
        queries = next(conversations)
        while True:
            queries = conversations.send(_replies(queries, language))
    except StopIteration as end:
        return end.value


def _replies(queries: Sequence[ChatQuery], language: LanguageModels) -> list[ChatReply | QueryRefused]:
    """Return the replies to `queries`, from the cache or the models; equal queries are sent once."""
    found: dict[str, ChatReply | QueryRefused] = {}
    keys: list[str] = []
    waiting: dict[bool, dict[str, ChatQuery]] = {True: {}, False: {}}
    parts: dict[str, list[Any]] = {}
    for query in queries:
        seeing = query.image is not None
        model = language.vision if seeing else language.text
        whole = [list(model.identity), *query.key_parts()]
        keys.append(key := json.dumps(whole))
        if key in found or key in waiting[seeing]:
            continue
        if (cached := ChatReply.from_record(language.cache.get(whole))) is not None:
            found[key] = cached
        else:
            waiting[seeing][key], parts[key] = query, whole
    for seeing, missing in waiting.items():
        model, order = language.vision if seeing else language.text, list(missing)
        for place, reply in model.complete(list(missing.values())) if missing else ():
            found[order[place]] = reply
            if isinstance(reply, ChatReply):
                language.cache.put(parts[order[place]], reply.record())
    return [found[key] for key in keys]


def shrink(image: np.ndarray, max_side: int | None) -> np.ndarray:
    """Return an image whose longer side is at most `max_side` pixels: (H', W', 3) uint8."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


# Decisions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """The parsed reply after at most one retry, and the records of all turns."""

    parsed: Parsed
    turns: tuple[dict[str, Any], ...]


def query_names(
    query: ChatQuery, vocabulary: Vocabulary, reminder: str, names: tuple[str, ...], *, last: bool = False
) -> Conversation[Decision]:
    """Query class names; a reply that cannot be parsed is retried once, at half the temperature and with a reminder.

    The second reply is constrained to `names`, even if the first was free text.
    """
    (reply,) = yield [query]
    turns = [turn_record(query, reply)]
    parsed = parse(reply.text, vocabulary, last=last, cut=reply.cut)
    if parsed.error:
        messages = (*query.messages, ("assistant", without_reasoning(reply.text) or "-"), ("user", reminder))
        longer = 2 * query.max_tokens if reply.cut else query.max_tokens
        calmer, seed = query.temperature / 2, query.seed + 1
        again = replace(query, messages=messages, temperature=calmer, seed=seed, max_tokens=longer, names=names)
        (reply,) = yield [again]
        turns.append(turn_record(again, reply))
        parsed = parse(reply.text, vocabulary, last=last, cut=reply.cut)
    return Decision(parsed, tuple(turns))


def turn_record(query: ChatQuery, reply: ChatReply) -> dict[str, Any]:
    """Return the record of one query and its reply.

    image: ``plain`` or ``mirrored``, null for a query without an image.
    """
    seen = None if query.image is None else "mirrored" if query.image.mirrored else "plain"
    return {
        "asked": query.messages[-1][1],
        "picture": seen,
        "temperature": query.temperature,
        "seed": query.seed,
        "answered": reply.text,
        "yes": reply.yes,
        "cut": reply.cut,
        "tokens": [reply.tokens_in, reply.tokens_out],
        "seconds": round(reply.seconds, 3),
        "cost": reply.cost,
    }


def record(decisions: Sequence[Decision], names: Sequence[str], turns: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return the record of a frame: all turns, parsed and rejected names, and parse errors.

    Args:
        decisions: one, or one for each vote.
        names: of the classes.
        turns: records of the queries before.
    """
    return {
        "turns": [*turns, *(turn for decision in decisions for turn in decision.turns)],
        "parsed": [[names[index] for index in decision.parsed.present] for decision in decisions],
        "refused": [name for decision in decisions for name in decision.parsed.refused],
        "retries": sum(len(decision.turns) - 1 for decision in decisions),
        "parse_error": next((decision.parsed.error for decision in decisions if decision.parsed.error), None),
        "parse_errors": sum(decision.parsed.error is not None for decision in decisions),
    }
