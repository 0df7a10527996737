"""Leads many conversations at once, keeps every answer the moment it comes, and asks again where one cannot be read.

A conversation about a frame is a generator: it yields questions, is sent their answers, and returns what it concludes.
So a method is written as if there were one frame and one model, while servers are asked several things at a time and
models on this machine are given batches. A run that is killed has lost what was in flight and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from wildseg.labels.interface import NamedImage
from wildseg.labels.language.messages import Ask, Language, Picture, Reply
from wildseg.labels.parsing import Parsed, Vocabulary, parse

Conclusion = TypeVar("Conclusion")
Conversation = Generator[Sequence[Ask], Sequence[Reply], Conclusion]


def lead(
    frames: Sequence[NamedImage], language: Language, about: Callable[[Picture], Conversation[Conclusion]]
) -> Iterator[Conclusion]:
    """Yield what the conversation `about` the picture of each of `frames` concludes, in their order.

    Raises:
        ModelError: a model cannot be had; all that was answered is kept.
        DataError: a frame cannot be read.
    """
    window = max(language.vision.window, language.text.window)
    for start in range(0, len(frames), window):
        part = frames[start : start + window]
        talks = [about(Picture(shrunk(frame.load(), language.manner.max_side))) for frame in part]
        yield from hold(together(talks), language)


def together(talks: Sequence[Conversation[Conclusion]]) -> Conversation[list[Conclusion]]:
    """Make one conversation of several: what they ask at the same time is asked at once."""
    concluded: dict[int, Conclusion] = {}
    heard: dict[int, Sequence[Reply] | None] = dict.fromkeys(range(len(talks)))
    while heard:
        asked: dict[int, Sequence[Ask]] = {}
        for number, replies in heard.items():
            try:
                asked[number] = next(talks[number]) if replies is None else talks[number].send(replies)
            except StopIteration as end:
                concluded[number] = end.value
        answered = iter((yield [ask for asks in asked.values() for ask in asks]) if asked else ())
        heard = {number: [next(answered) for _ in asks] for number, asks in asked.items()}
    return [concluded[number] for number in range(len(talks))]


def hold(talk: Conversation[Conclusion], language: Language) -> Conclusion:
    """Have a conversation, and return what it concludes."""
    try:
        asks = next(talk)
        while True:
            asks = talk.send(_replies(asks, language))
    except StopIteration as end:
        return end.value


def _replies(asks: Sequence[Ask], language: Language) -> list[Reply]:
    """Return the answers to all of `asks`, those that are kept from memory."""
    found: dict[int, Reply] = {}
    for speaker, seeing in ((language.vision, True), (language.text, False)):
        own = [place for place, ask in enumerate(asks) if (ask.picture is not None) == seeing]
        keys = {place: [list(speaker.identity), *asks[place].parts()] for place in own}
        for place in own:
            if (kept := Reply.from_record(language.memory.get(keys[place]))) is not None:
                found[place] = kept
        missing = [place for place in own if place not in found]
        for index, reply in speaker.answer([asks[place] for place in missing]) if missing else ():
            found[missing[index]] = reply
            language.memory.put(keys[missing[index]], reply.record())
    return [found[place] for place in range(len(asks))]


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


def decided(ask: Ask, vocabulary: Vocabulary, reminder: str, *, last: bool = False) -> Conversation[Decision]:
    """Ask for names; after an answer that cannot be read once more, at half the temperature and with a reminder."""
    (reply,) = yield [ask]
    turns = [turn(ask, reply)]
    parsed = parse(reply.text, vocabulary, last=last)
    if parsed.error:
        messages = (*ask.messages, ("assistant", reply.text or "-"), ("user", reminder))
        longer = 2 * ask.max_tokens if reply.cut else ask.max_tokens
        again = replace(ask, messages=messages, temperature=ask.temperature / 2, seed=ask.seed + 1, max_tokens=longer)
        (reply,) = yield [again]
        turns.append(turn(again, reply))
        parsed = parse(reply.text, vocabulary, last=last)
    return Decision(parsed, tuple(turns))


def turn(ask: Ask, reply: Reply) -> dict[str, Any]:
    """Return what was asked last and what was answered, for the record of a frame."""
    return {
        "asked": ask.messages[-1][1],
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
