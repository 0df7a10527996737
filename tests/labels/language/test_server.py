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
from wildseg.core.errors import ModelError, ParamsError
from wildseg.labels.language import server, transport
from wildseg.labels.language.messages import ChatQuery, ChatReply, ImageInput, QueryRefused
from wildseg.labels.language.replies import yes_probability
from wildseg.labels.language.server import ServerModel


def query(number: int = 0, **changes: object) -> ChatQuery:
    values = {"temperature": 0.5, "seed": 3, "max_tokens": 50, "names": ("sky", "lawn"), **changes}
    return ChatQuery((("user", f"question {number}"),), ImageInput(noise((20, 30))), **values)


def replies(server: Misbehaving, model: str, queries: int = 1, **options: object) -> list[ChatReply]:
    speaker = ServerModel(server.url, model, **{"constrained": True, **options})
    found = dict(speaker.complete([query(number) for number in range(queries)]))
    return [found[number] for number in range(queries)]


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
        ("down", r"did not answer in 6 attempts \(HTTP 503: overloaded\); check that it runs", 6),
        ("empty", "its answer is no chat completion", 6),
        ("nobody", "expected a model it has, found 'nobody'", 1),
        ("strict", "set label.language.constrained to false", 1),
        ("locked", "it requires a key, and there is none; set WILDSEG_API_KEY", 1),
        ("moved", "it refused the query .HTTP 307", 1),
        ("dies:0", "refused the query .HTTP 400: the money is used up", 1),
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
        list(ServerModel("http://127.0.0.1:9/v1", "m", constrained=True).complete([query()]))


def test_an_answer_without_end_is_not_read_to_its_end(bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_BYTES", 100_000)
    with pytest.raises(ModelError, match="longer than 100,000 bytes"):
        replies(bad_server, "endless")


def test_a_server_that_takes_too_long_is_given_up(bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "TIMEOUT", 0.1)
    monkeypatch.setattr(server, "ATTEMPTS", 2)
    with pytest.raises(ModelError, match="did not answer in 2 attempts .*timed out"):
        replies(bad_server, "slow")


def test_several_are_asked_at_once_and_no_more(bad_server: Misbehaving) -> None:
    replies(bad_server, "slow", queries=6, requests=3)
    times = [body["time"] for body in bad_server.asked("slow")]
    begun = [sum(abs(time - other) < 0.4 for other in times) for time in times]
    assert begun == [3] * 6  # each answer takes 0.5 s


def test_the_rate_is_kept(bad_server: Misbehaving) -> None:
    replies(bad_server, "good", queries=5, requests=5, per_minute=600)
    times = sorted(body["time"] for body in bad_server.asked("good"))
    assert times[-1] - times[0] > 4 * 0.1 - 0.05  # never faster; slower is no fault of ours


def test_two_models_of_a_server_share_its_rate(bad_server: Misbehaving) -> None:
    for model in ("good", "thinks", "good", "thinks"):
        replies(bad_server, model, per_minute=600)
    times = sorted(body["time"] for model in ("good", "thinks") for body in bad_server.asked(model))
    assert times[-1] - times[0] > 3 * 0.1 - 0.05


def test_what_was_answered_before_a_refusal_is_not_lost(bad_server: Misbehaving) -> None:
    answers = ServerModel(bad_server.url, "dies:6", constrained=True, requests=2).complete([query(n) for n in range(9)])
    kept = [next(answers) for _ in range(6)]
    assert len({place for place, _ in kept}) == 6
    with pytest.raises(ModelError, match="used up"):
        next(answers)
    assert len(bad_server.asked("dies:6")) <= 8  # after the first refusal nothing more is begun


def test_the_key_is_sent_and_nowhere_else(bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILDSEG_API_KEY", "very-secret")
    speaker = ServerModel(bad_server.url, "locked", constrained=True)
    with pytest.raises(ModelError, match="it refused the key of the environment") as caught:
        list(speaker.complete([query()]))
    assert bad_server.asked("locked")[0]["key"] == "Bearer very-secret"
    assert "very-secret" not in f"{caught.value} {speaker!r} {speaker.identity} {vars(speaker)}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_the_key_for_openai_goes_to_openai_alone(bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "very-secret")
    replies(bad_server, "good")
    assert bad_server.asked("good")[0]["key"] == ""
    assert transport.key_for("https://api.openai.com/v1") == "very-secret"
    assert transport.key_for("https://openai.com.evil.org/v1") == ""


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
        ServerModel(url, "m", constrained=True)
    assert "very-secret" not in str(caught.value)


def test_yes_and_no_share_what_their_words_have_in_common(bad_server: Misbehaving) -> None:
    yes, no = math.exp(-0.5) + math.exp(-3), math.exp(-1.5)
    speaker = ServerModel(bad_server.url, "yes", constrained=True)
    ((_, reply),) = speaker.complete([query(yes_no=True, names=None)])
    assert reply.yes == pytest.approx(yes / (yes + no))
    assert yes_probability({"yes": -1.0, "no": -1.0}) == 0.5
    assert yes_probability({"yes": -7.0, "no": -8.0}) == pytest.approx(yes_probability({"yes": -1.0, "no": -2.0}))
    assert yes_probability({"maybe": -0.1}) is None
    (body,) = bad_server.asked("yes")
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 1)


def test_a_server_without_likelihoods_is_told(bad_server: Misbehaving) -> None:
    with pytest.raises(
        ModelError, match="vlm_yes_no needs the likelihoods of words .logprobs., and this server gives none"
    ):
        list(ServerModel(bad_server.url, "good", constrained=True).complete([query(yes_no=True, names=None)]))


# What is about one question, and what about all ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "reason", "attempts"),
    [
        ("picky:20x30", "HTTP 400: content policy; wrong key", 2),  # once more, since the server is there
        ("heavy:20x30", "HTTP 413: Request Entity Too Large", 2),
        ("withholds:20x30", "content_filter", 2),
        ("chokes:20x30", "HTTP 500: out of memory", 7),
    ],
)
def test_a_picture_that_alone_is_refused_is_told_apart_from_others(
    model: str, reason: str, attempts: int, bad_server: Misbehaving
) -> None:
    queries = [query(), ChatQuery(query().messages, ImageInput(noise((20, 31))), 0.0, 0, 9), query()]
    found = dict(ServerModel(bad_server.url, model, constrained=True, requests=1).complete(queries))
    assert isinstance(found[1], ChatReply)
    for place in (0, 2):
        assert isinstance(found[place], QueryRefused)
        assert "has no answer about it, though one about a grey picture (" in found[place].reason
        assert reason in found[place].reason
        assert "\n" not in found[place].reason
    assert len(bad_server.asked(model)) == 2 * attempts + 1
    control, _ = bad_server.asked(model, control=True)
    (refused, *_) = bad_server.asked(model)
    assert {**control, "messages": 0, "time": 0} == {**refused, "messages": 0, "time": 0}
    assert control["messages"][0]["content"][1] == refused["messages"][0]["content"][1]


def test_a_server_that_has_too_much_to_do_has_nothing_against_a_picture(bad_server: Misbehaving) -> None:
    with pytest.raises(ModelError, match="HTTP 429: slow down"):
        replies(bad_server, "throttles:20x30")
    assert len(bad_server.asked("throttles:20x30")) == 6
    assert bad_server.asked("throttles:20x30", control=True) == []


def test_a_question_without_picture_has_its_control_too(bad_server: Misbehaving) -> None:
    words = ChatQuery((("user", "question"), ("assistant", "yes"), ("user", "why?")), None, 0.0, 0, 9, ("sky",))
    with pytest.raises(ModelError, match="the money is used up"):
        list(ServerModel(bad_server.url, "dies:0", constrained=True).complete([words]))
    first, control = bad_server.asked("dies:0")
    assert len(control["messages"]) == 1
    assert control["response_format"] == first["response_format"]


def test_in_a_long_conversation_only_what_was_asked_is_kept_in_the_control() -> None:
    long = ChatQuery(
        (("user", "a?"), ("assistant", "words " * 999), ("user", "b?")), ImageInput(noise((9, 9))), 0.0, 0, 9
    )
    assert server.control_query(long).messages == (("user", "a?"), ("assistant", "-"), ("user", "b?"))


# In which forms servers answer ---------------------------------------------------------------------------------------

SKY = '{"annotations": ["sky"]}'


@pytest.mark.parametrize(
    ("model", "text", "tokens"),
    [
        ("parts", SKY, (0, 0)),
        ("thinks", f'<think>A lawn? {{"annotations": ["lawn"]}}</think>\n{SKY}', (0, 0)),
        ("reasons", f"<think>hm</think>\n{SKY}", (0, 0)),
        ("declines", "I will not look at that.", (0, 0)),
        ("silent", "", (0, 0)),
        ("counts-oddly", SKY, (0, 0)),
        ("counts-not", SKY, (0, 0)),
        ("streams", SKY, (5, 6)),
    ],
)
def test_an_answer_is_read_in_whatever_form_it_comes(
    model: str, text: str, tokens: tuple[int, int], bad_server: Misbehaving
) -> None:
    (reply,) = replies(bad_server, model)
    assert (reply.text, (reply.tokens_in, reply.tokens_out), reply.cut) == (text, tokens, False)


@pytest.mark.parametrize(
    ("model", "line"),
    [
        ("streams-half", r"its answer is no chat completion \(ValueError"),
        ("object", r"its answer is no chat completion \(TypeError"),
        ("excuses", "it answers with an error: the model is loading"),
    ],
)
def test_what_is_no_answer_is_told(model: str, line: str, bad_server: Misbehaving) -> None:
    with pytest.raises(ModelError, match=line):
        replies(bad_server, model)


def test_a_likelihood_that_is_no_number_does_not_count(bad_server: Misbehaving) -> None:
    ((_, reply),) = ServerModel(bad_server.url, "nan", constrained=True).complete([query(yes_no=True, names=None)])
    assert reply.yes == 0
    assert yes_probability({"yes": -math.inf, "no": math.nan}) is None


def test_openai_is_told_the_limit_by_the_name_that_its_models_take() -> None:
    asked = ServerModel("https://api.openai.com/v1", "m", constrained=True)._body(query())
    assert asked["max_completion_tokens"] == 50
    assert "max_tokens" not in asked


# The key -------------------------------------------------------------------------------------------------------------


def test_half_a_key_is_not_shown_where_a_long_line_is_cut(
    bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WILDSEG_API_KEY", "very-secret-and-long-enough-to-be-cut")
    with pytest.raises(ModelError, match="xxx Bearer ...") as caught:
        replies(bad_server, "repeats")
    assert "very" not in str(caught.value)


def test_a_key_in_an_answer_is_cut_out(bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WILDSEG_API_KEY", "annotations")
    assert replies(bad_server, "parts")[0].text == '{"...": ["sky"]}'
    monkeypatch.setenv("WILDSEG_API_KEY", "sky")  # a word, as servers that want no key are given
    assert replies(bad_server, "parts")[0].text == SKY


@pytest.mark.parametrize("key", ["very\nsecret", "very secret", "very-sécret", "very\x00secret"])
def test_a_key_that_no_header_can_hold_is_told_and_not_shown(
    key: str, bad_server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "\0" in key:
        monkeypatch.setattr(transport.os, "environ", {"WILDSEG_API_KEY": key})
    else:
        monkeypatch.setenv("WILDSEG_API_KEY", key)
    with pytest.raises(ModelError, match="WILDSEG_API_KEY: expected plain letters") as caught:
        replies(bad_server, "good")
    assert "very" not in str(caught.value)
    assert bad_server.asked("good") == []
