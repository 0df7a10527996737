"""Leads many conversations at once, keeps every answer the moment it comes, and asks again where one cannot be read.

A conversation about a frame is a generator: it yields questions, is sent their answers, and returns what it concludes.
So a method is written as if there were one frame and one model, while servers are asked several things at a time and
models on this machine are given batches. A run that is killed has lost what was in flight and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from wildseg.labels.interface import Answer, NamedImage
from wildseg.labels.language.messages import Ask, Language, Picture, Refusal, Reply
from wildseg.labels.parsing import Parsed, Vocabulary, parse, spoken

Conclusion = TypeVar("Conclusion")
Conversation = Generator[Sequence[Ask], Sequence[Reply], Conclusion]
Conversations = Generator[Sequence[Ask], Sequence[Reply | Refusal], list[Conclusion]]


class Refused(Exception):
    """A question of this conversation got no answer, though others do."""


def lead(
    frames: Sequence[NamedImage], language: Language, about: Callable[[Picture], Conversation[Answer]]
) -> Iterator[Answer]:
    """Yield what the conversation `about` the picture of each of `frames` concludes, in their order.

    A frame about which a question is refused has an answer that failed.

    Raises:
        ModelError: a model cannot be had; all that was answered is kept.
        DataError: a frame cannot be read.
    """
    window = max(language.vision.window, language.text.window)
    for start in range(0, len(frames), window):
        part = frames[start : start + window]
        talks = [_or_failed(about(Picture(shrunk(frame.load(), language.manner.max_side)))) for frame in part]
        yield from hold(together(talks), language)


def _or_failed(talk: Conversation[Answer]) -> Conversation[Answer]:
    try:
        return (yield from talk)
    except Refused as refused:
        return Answer(np.zeros(0), 0.0, failed=str(refused))


def together(talks: Sequence[Conversation[Conclusion]]) -> Conversations[Conclusion]:
    """Make one conversation of several: what they ask at the same time is asked at once.

    One of them that is refused an answer ends there, by `Refused`, and so do all if it makes nothing of that.
    """
    concluded: dict[int, Conclusion] = {}
    heard: dict[int, Sequence[Reply | Refusal] | None] = dict.fromkeys(range(len(talks)))
    while heard:
        asked: dict[int, Sequence[Ask]] = {}
        for number, replies in heard.items():
            try:
                asked[number] = _go_on(talks[number], replies)
            except StopIteration as end:
                concluded[number] = end.value
        answered = iter((yield [ask for asks in asked.values() for ask in asks]) if asked else ())
        heard = {number: [next(answered) for _ in asks] for number, asks in asked.items()}
    return [concluded[number] for number in range(len(talks))]


def _go_on(talk: Conversation[Any], replies: Sequence[Reply | Refusal] | None) -> Sequence[Ask]:
    """Return what a conversation asks next; None begins it."""
    if replies is None:
        return next(talk)
    if refusal := next((reply for reply in replies if isinstance(reply, Refusal)), None):
        return talk.throw(Refused(refusal.reason))
    return talk.send([reply for reply in replies if isinstance(reply, Reply)])


def hold(talks: Conversations[Conclusion], language: Language) -> list[Conclusion]:
    """Have conversations, and return what they conclude.

    Raises:
        ModelError: a model cannot be had.
    """
    try:
        asks = next(talks)
        while True:
            asks = talks.send(_replies(asks, language))
    except StopIteration as end:
        return end.value


def _replies(asks: Sequence[Ask], language: Language) -> list[Reply | Refusal]:
    """Return the answers to all of `asks`: those that are kept from memory, and what is asked twice asked once."""
    found: dict[str, Reply | Refusal] = {}
    keys: list[str] = []
    waiting: dict[bool, dict[str, Ask]] = {True: {}, False: {}}
    parts: dict[str, list[Any]] = {}
    for ask in asks:
        seeing = ask.picture is not None
        speaker = language.vision if seeing else language.text
        whole = [list(speaker.identity), *ask.parts()]
        keys.append(key := json.dumps(whole))
        if key in found or key in waiting[seeing]:
            continue
        if (kept := Reply.from_record(language.memory.get(whole))) is not None:
            found[key] = kept
        else:
            waiting[seeing][key], parts[key] = ask, whole
    for seeing, missing in waiting.items():
        speaker, order = language.vision if seeing else language.text, list(missing)
        for place, reply in speaker.answer(list(missing.values())) if missing else ():
            found[order[place]] = reply
            if isinstance(reply, Reply):
                language.memory.put(parts[order[place]], reply.record())
    return [found[key] for key in keys]


def shrunk(image: np.ndarray, max_side: int | None) -> np.ndarray:
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
    """What one or two answers came to, and every word that led there."""

    parsed: Parsed
    turns: tuple[dict[str, Any], ...]


def decided(
    ask: Ask, vocabulary: Vocabulary, reminder: str, names: tuple[str, ...], *, last: bool = False
) -> Conversation[Decision]:
    """Ask for names; after an answer that cannot be read once more, at half the temperature and with a reminder.

    The second answer is to hold nothing but `names`, even if words were allowed to come before them in the first.
    """
    (reply,) = yield [ask]
    turns = [turn(ask, reply)]
    parsed = parse(reply.text, vocabulary, last=last, cut=reply.cut)
    if parsed.error:
        messages = (*ask.messages, ("assistant", spoken(reply.text) or "-"), ("user", reminder))
        longer = 2 * ask.max_tokens if reply.cut else ask.max_tokens
        calmer, seed = ask.temperature / 2, ask.seed + 1
        again = replace(ask, messages=messages, temperature=calmer, seed=seed, max_tokens=longer, names=names)
        (reply,) = yield [again]
        turns.append(turn(again, reply))
        parsed = parse(reply.text, vocabulary, last=last, cut=reply.cut)
    return Decision(parsed, tuple(turns))


def turn(ask: Ask, reply: Reply) -> dict[str, Any]:
    """Return what was asked last and what was answered, for the record of a frame.

    picture: ``plain`` or ``mirrored``, null where a model was asked that sees none.
    """
    seen = None if ask.picture is None else "mirrored" if ask.picture.mirrored else "plain"
    return {
        "asked": ask.messages[-1][1],
        "picture": seen,
        "temperature": ask.temperature,
        "seed": ask.seed,
        "answered": reply.text,
        "yes": reply.yes,
        "cut": reply.cut,
        "tokens": [reply.tokens_in, reply.tokens_out],
        "seconds": round(reply.seconds, 3),
        "cost": reply.cost,
    }


def record(decisions: Sequence[Decision], names: Sequence[str], turns: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return the record of a frame: all turns, what was parsed of each answer, what was refused, what failed.

    Args:
        decisions: one, or one for each vote.
        names: of the classes.
        turns: what was said before they were made.
    """
    return {
        "turns": [*turns, *(turn for decision in decisions for turn in decision.turns)],
        "parsed": [[names[index] for index in decision.parsed.present] for decision in decisions],
        "refused": [name for decision in decisions for name in decision.parsed.refused],
        "retries": sum(len(decision.turns) - 1 for decision in decisions),
        "parse_error": next((decision.parsed.error for decision in decisions if decision.parsed.error), None),
        "parse_errors": sum(decision.parsed.error is not None for decision in decisions),
    }
