"""The client of OpenAI-compatible servers, against one that misbehaves."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
from PIL import Image

from tests.encoders.models import noise
from tests.labels.language.conftest import Misbehaving
from wildseg.errors import ModelError, ParamsError
from wildseg.labels.language import server as wire
from wildseg.labels.language.messages import Ask, Picture, Reply
from wildseg.labels.language.server import Server, yes_of


def ask(number: int = 0, **changes: object) -> Ask:
    values = {"temperature": 0.5, "seed": 3, "max_tokens": 50, "names": ("sky", "lawn"), **changes}
    return Ask((("user", f"question {number}"),), Picture(noise((20, 30))), **values)


def replies(server: Misbehaving, model: str, asks: int = 1, **options: object) -> list[Reply]:
    speaker = Server(server.url, model, **{"constrained": True, **options})
    found = dict(speaker.answer([ask(number) for number in range(asks)]))
    return [found[number] for number in range(asks)]


def test_a_question_says_all_that_was_asked_for(bad_server: Misbehaving) -> None:
    (reply,) = replies(bad_server, "good")
    assert (reply.text, reply.tokens_in, reply.tokens_out, reply.cost) == (
        '{"annotations": ["sky", "boat"]}',
        100,
        7,
        0.25,
    )
    (body,) = bad_server.asked("good")
    assert (body["path"], body["temperature"], body["seed"], body["max_tokens"]) == ("/v1/chat/completions", 0.5, 3, 50)
    schema = body["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["annotations"]["items"]["enum"] == ["sky", "lawn"]
    picture, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "question 0"}
    start, content = picture["image_url"]["url"].split(",")
    assert start == "data:image/jpeg;base64"
    sent = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    assert sent.shape == (20, 30, 3)
    assert np.abs(sent.astype(int) - noise((20, 30))).mean() < 30


def test_what_fails_in_passing_is_tried_again(bad_server: Misbehaving) -> None:
    (reply,) = replies(bad_server, "busy")
    assert reply.text
    assert len(bad_server.asked("busy")) == 6


@pytest.mark.parametrize(
    ("model", "line", "attempts"),
    [
        ("down", r"did not answer in 6 attempts \(HTTP 503: overloaded\); see that it runs", 6),
        ("empty", "its answer is no chat completion", 6),
        ("nobody", "expected a model it has, found 'nobody'", 1),
        ("strict", "set label.language.constrained to false", 1),
        ("locked", "it wants a key, and there is none; set WILDSEG_API_KEY", 1),
        ("moved", "it refused the question .HTTP 307", 1),
        ("dies:0", "refused the question .HTTP 400: the money is used up", 1),
    ],
)
def test_what_will_not_get_better_is_told_in_one_line(
    model: str, line: str, attempts: int, bad_server: Misbehaving
) -> None:
    with pytest.raises(ModelError, match=line) as caught:
        replies(bad_server, model)
    assert "\n" not in str(caught.value)
    assert len(bad_server.asked(model)) == attempts


def test_a_server_that_is_not_there_is_told() -> None:
    with pytest.raises(ModelError, match=r"http://127.0.0.1:9/v1 did not answer in 6 attempts \(.*[Rr]efused"):
        list(Server("http://127.0.0.1:9/v1", "m", constrained=True).answer([ask()]))


def test_an_answer_without_end_is_not_read_to_its_end(bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LARGEST", 100_000)
    with pytest.raises(ModelError, match="longer than 100,000 bytes"):
        replies(bad_server, "endless")


def test_a_server_that_takes_too_long_is_given_up(bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "TIMEOUT", 0.1)
    monkeypatch.setattr(wire, "ATTEMPTS", 2)
    with pytest.raises(ModelError, match="did not answer in 2 attempts .*timed out"):
        replies(bad_server, "slow")


def test_several_are_asked_at_once_and_no_more(bad_server: Misbehaving) -> None:
    replies(bad_server, "slow", asks=6, requests=3)
    times = [body["time"] for body in bad_server.asked("slow")]
    begun = [sum(abs(time - other) < 0.4 for other in times) for time in times]
    assert begun == [3] * 6  # each answer takes 0.5 s


def test_the_rate_is_kept(bad_server: Misbehaving) -> None:
    replies(bad_server, "good", asks=5, requests=5, per_minute=600)
    times = sorted(body["time"] for body in bad_server.asked("good"))
    assert times[-1] - times[0] > 4 * 0.1 - 0.05  # never faster; slower is no fault of ours


def test_what_was_answered_before_a_refusal_is_not_lost(bad_server: Misbehaving) -> None:
    answers = Server(bad_server.url, "dies:6", constrained=True, requests=2).answer([ask(n) for n in range(9)])
    kept = [next(answers) for _ in range(6)]
    assert len({place for place, _ in kept}) == 6
    with pytest.raises(ModelError, match="used up"):
        next(answers)
    assert len(bad_server.asked("dies:6")) <= 8  # after the first refusal nothing more is begun


def test_the_key_is_sent_and_nowhere_else(bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILDSEG_API_KEY", "very-secret")
    speaker = Server(bad_server.url, "locked", constrained=True)
    with pytest.raises(ModelError, match="it refused the key of the environment") as caught:
        list(speaker.answer([ask()]))
    assert bad_server.asked("locked")[0]["key"] == "Bearer very-secret"
    assert "very-secret" not in f"{caught.value} {speaker!r} {speaker.identity} {vars(speaker)}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_key_for_openai_goes_to_openai_alone(bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    replies(bad_server, "good")
    assert bad_server.asked("good")[0]["key"] == ""
    assert wire._key("https://api.openai.com/v1") == "very-secret"
    assert wire._key("https://openai.com.evil.org/v1") == ""


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("localhost:11434", "expected an address such as http://localhost:11434/v1, found 'localhost:11434'"),
        ("file:///etc/passwd", "expected an address such as"),
        ("https://me:very-secret@host/v1", "put the key into the environment variable WILDSEG_API_KEY"),
        ("https://host/v1?key=very-secret", "put the key into the environment variable WILDSEG_API_KEY"),
    ],
)
def test_an_address_that_is_none_is_told(url: str, line: str) -> None:
    with pytest.raises(ParamsError, match=line) as caught:
        Server(url, "m", constrained=True)
    assert "very-secret" not in str(caught.value)


def test_yes_and_no_share_what_their_words_have_in_common(bad_server: Misbehaving) -> None:
    yes, no = math.exp(-0.5) + math.exp(-3), math.exp(-1.5)
    speaker = Server(bad_server.url, "yes", constrained=True)
    ((_, reply),) = speaker.answer([ask(yes_no=True, names=None)])
    assert reply.yes == pytest.approx(yes / (yes + no))
    assert yes_of({"yes": -1.0, "no": -1.0}) == 0.5
    assert yes_of({"yes": -7.0, "no": -8.0}) == pytest.approx(yes_of({"yes": -1.0, "no": -2.0}))
    assert yes_of({"maybe": -0.1}) is None
    (body,) = bad_server.asked("yes")
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 1)


def test_a_server_without_likelihoods_is_told(bad_server: Misbehaving) -> None:
    with pytest.raises(
        ModelError, match="vlm_yes_no needs the likelihoods of words .logprobs., and this server gives none"
    ):
        list(Server(bad_server.url, "good", constrained=True).answer([ask(yes_no=True, names=None)]))
