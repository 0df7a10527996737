"""The label methods that ask a language model: what they ask, what they make of it, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tests.encoders.models import noise
from tests.labels.language.conftest import Misbehaving, misbehaving
from tests.labels.language.models import NAMES, OPTIONS, Memory, Script, frames, language, names, request
from wildseg.core.errors import ModelError, ParamsError
from wildseg.labels.interface import NamedImage
from wildseg.labels.language.conversation import shrink
from wildseg.labels.language.messages import ChatQuery, ChatReply, LanguageModels, QueryRefused
from wildseg.labels.language.server import ServerModel
from wildseg.labels.language.voting import threshold
from wildseg.methods.labels import describe_then_decide, vlm_cot, vlm_direct, vlm_yes_no

METHODS = {"vlm_direct": vlm_direct, "vlm_cot": vlm_cot, "describe_then_decide": describe_then_decide}
METHOD = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


def answers(method: ModuleType, models: LanguageModels, number: int = 1, **options: object) -> list:
    own = {**OPTIONS[method.__name__.rsplit(".", 1)[-1]], **options}
    return list(method.label(frames(number), request(models, lawn="mown\n grass"), **own))


@METHOD
def test_what_is_named_is_present_and_nothing_else(method: ModuleType) -> None:
    (answer,) = answers(method, language(Script(lambda _: '{"annotations": ["Clouds", "boat", "lawns"]}')))
    np.testing.assert_array_equal(answer.scores, [1, 0, 1])
    assert 0 < answer.threshold < 1
    assert answer.record["parsed"] == [["sky", "lawn"]]
    assert answer.record["refused"] == ["boat"]
    assert answer.record["parse_error"] is None
    json.dumps(answer.record, allow_nan=False)


@METHOD
def test_the_classes_are_listed_with_their_definitions_or_else_their_phrases(method: ModuleType) -> None:
    model = Script(lambda _: "[]")
    answers(method, language(model))
    (asked,) = [text for query in model.asked for _, text in query.messages[-1:] if "- sky" in text]
    assert "- sky: sky, clouds\n- road: road, grey pavement\n- lawn: mown grass" in asked
    assert "{classes}" not in asked
    assert '{"annotations": ["...", "..."]}' in model.asked[-1].messages[-1][1]
    assert model.asked[-1].names == NAMES


@METHOD
def test_an_answer_that_cannot_be_read_is_asked_for_once_more_and_then_flagged(method: ModuleType) -> None:
    model = Script(lambda _: "I cannot say.")
    (answer,) = answers(method, language(model))
    np.testing.assert_array_equal(answer.scores, 0)
    first, again = model.asked[-2:]
    assert again.messages == (*first.messages, ("assistant", "I cannot say."), ("user", "only JSON"))
    assert (again.temperature, again.seed) == (0.3, 1)
    assert (answer.record["parse_error"], answer.record["retries"], answer.record["parse_errors"]) == ("no JSON", 1, 1)


def test_the_second_answer_counts_and_one_that_was_cut_may_be_longer() -> None:
    model = Script(lambda query: '["lawn"]' if len(query.messages) > 1 else ChatReply('{"annotations": ["sk', cut=True))
    (answer,) = answers(vlm_direct, language(model))
    np.testing.assert_array_equal(answer.scores, [0, 0, 1])
    assert [query.max_tokens for query in model.asked] == [40, 80]
    assert answer.record["parse_error"] is None
    assert [turn["answered"] for turn in answer.record["turns"]] == ['{"annotations": ["sk', '["lawn"]']


@METHOD
def test_the_second_answer_is_held_to_names_whatever_the_first_was(method: ModuleType) -> None:
    model = Script(lambda _: "I cannot say.")
    options = {"turns": 1} if method is vlm_cot else {}
    answers(method, language(model), **options)
    assert model.asked[-1].names == NAMES


@METHOD
def test_thoughts_are_recorded_and_neither_count_nor_are_repeated(method: ModuleType) -> None:
    model = Script(lambda _: '<think>A lawn? {"annotations": ["lawn"]}</think>{"annotations": ["sky"]}')
    (answer,) = answers(method, language(model))
    assert names(answer.scores) == ["sky"]
    assert all("A lawn?" in turn["answered"] for turn in answer.record["turns"])
    assert "A lawn?" not in json.dumps([query.messages for query in model.asked])


@pytest.mark.parametrize("model", ["thinks", "thinks-aloud", "streams", "parts"])
def test_what_a_server_makes_of_thoughts_is_understood(model: str, bad_server: Misbehaving) -> None:
    (answer,) = answers(vlm_direct, language(ServerModel(bad_server.url, model, constrained=True)))
    assert names(answer.scores) == ["sky"]


@pytest.mark.parametrize("model", ["still-thinks", "declines", "silent"])
def test_a_server_that_says_nothing_is_asked_once_more(model: str, bad_server: Misbehaving) -> None:
    (answer,) = answers(vlm_direct, language(ServerModel(bad_server.url, model, constrained=True)))
    assert not answer.scores.any()
    assert answer.record["parse_errors"] == 1
    assert len(bad_server.asked(model)) == 2


# Refusals and repetitions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [*METHODS.values(), vlm_yes_no], ids=[*METHODS, "vlm_yes_no"])
@pytest.mark.parametrize("votes", [1, 4])
def test_a_frame_that_is_refused_fails_alone(method: ModuleType, votes: int) -> None:
    shade = noise((20, 30), 1)[:, ::-1].mean()

    def says(query: ChatQuery) -> str | ChatReply | QueryRefused:
        if query.image is not None and np.isclose(query.image.pixels.mean(), shade) and len(query.messages) == 1:
            return QueryRefused("not this one")
        return ChatReply('["sky"]', yes=0.75)

    memory = Memory()
    found = answers(method, language(Script(says), memory=memory, votes={"number": votes}), number=3)
    assert [answer.failed for answer in found] == [None, "not this one", None]
    assert names(found[0].scores) == names(found[2].scores) != []
    assert "not this one" not in json.dumps(memory.kept)
    whole = answers(
        method,
        language(Script(lambda _: ChatReply('["sky"]', yes=0.75)), memory=memory, votes={"number": votes}),
        number=3,
    )
    assert [answer.failed for answer in whole] == [None] * 3  # another day


@METHOD
def test_what_is_asked_twice_at_the_same_time_is_asked_once(method: ModuleType) -> None:
    model, once = Script(lambda _: '["sky"]'), Script(lambda _: '["sky"]')
    own = OPTIONS[method.__name__.rsplit(".", 1)[-1]]
    models = language(model)
    twins = [NamedImage("a", lambda: noise((20, 30))), NamedImage("b", lambda: noise((20, 30)))]
    first, second = method.label(twins, request(models), **own)
    (alone,) = method.label(frames(1), request(language(once)), **own)
    assert len(model.asked) == len(once.asked)
    assert first.record == second.record == alone.record


@METHOD
def test_votes_from_memory_are_those_that_were_cast(method: ModuleType) -> None:
    memory = Memory()
    said = {0: '["sky"]', 1000: '["road"]', 2000: '["sky", "lawn"]'}
    fresh = answers(
        method, language(Script(lambda query: said[query.seed]), memory=memory, votes={"number": 3}), number=2
    )
    never = Script(lambda _: pytest.fail("asked again"))
    kept = answers(method, language(never, memory=memory, votes={"number": 3}), number=2)
    assert [answer.record for answer in kept] == [answer.record for answer in fresh]
    np.testing.assert_array_equal([a.scores for a in kept], [a.scores for a in fresh])
    np.testing.assert_allclose(fresh[0].scores, [2 / 3, 1 / 3, 1 / 3])


@METHOD
def test_answers_belong_to_their_frames_and_what_is_kept_is_not_asked_again(method: ModuleType) -> None:
    def says(query: ChatQuery) -> str:
        if query.image is None:  # the description says it
            return query.messages[0][1].split("\n\n")[1]
        bright = query.image.pixels.mean()
        return json.dumps([NAMES[number] for number in range(3) if np.isclose(bright, noise((20, 30), number).mean())])

    memory, model = Memory(), Script(says)
    found = answers(method, language(model, memory=memory), number=3)
    np.testing.assert_array_equal([answer.scores for answer in found], np.eye(3))
    never = Script(lambda _: pytest.fail("asked again"))
    again = answers(method, language(never, memory=memory), number=3)
    assert [answer.record for answer in again] == [answer.record for answer in found]


@pytest.mark.parametrize("record", ["7", "[]", "{}", '{"text": "hm"}', '{"text": 3, "cut": false, "tokens_in": 0, '
                                    '"tokens_out": 0, "seconds": 0.5, "cost": null, "yes": null}'])  # fmt: skip
def test_what_was_kept_by_something_else_is_asked_for_anew(record: str) -> None:
    memory, model = Memory(), Script(lambda _: '["sky"]')
    (before,) = answers(vlm_direct, language(model, memory=memory))
    memory.kept = dict.fromkeys(memory.kept, record)
    (after,) = answers(vlm_direct, language(model, memory=memory))
    assert len(model.asked) == 2
    assert after.record == before.record


@pytest.mark.parametrize("change", ["temperature", "seed", "max_tokens", "max_side"])
def test_whatever_changes_the_question_is_asked_anew(change: str) -> None:
    memory, model = Memory(), Script(lambda _: "[]")
    answers(vlm_direct, language(model, memory=memory))
    answers(vlm_direct, language(model, memory=memory, **{change: 2}))
    assert len(model.asked) == 2
    answers(vlm_direct, language(Script(model.says, "another"), memory=memory))
    assert len(memory.kept) == 3
    answers(vlm_direct, language(model, memory=memory), prompt="Which of {names}?")
    assert len(model.asked) == 3


def test_a_run_that_breaks_off_goes_on_where_it_was(bad_server: Misbehaving) -> None:
    memory = Memory()
    model = ServerModel(bad_server.url, "dies:4", constrained=True, requests=1)
    for _ in range(2):
        with pytest.raises(ModelError, match="the money is used up"):
            answers(vlm_direct, language(model, memory=memory), number=6)
        assert len(memory.kept) == 4
    asked = [json.dumps(body["messages"]) for body in bad_server.asked("dies:4")]
    assert len(set(asked[:4])) == 4
    assert len(asked) == 6
    assert asked[4] == asked[5]


def test_a_run_whose_server_dies_goes_on_with_another(tmp_path: Path) -> None:
    memory, model = Memory(), "exits:4"
    for number, log in enumerate((tmp_path / "first", tmp_path / "second")):
        with misbehaving(log) as server:
            models = language(ServerModel(server.url, model, constrained=True, requests=1), memory=memory)
            if number == 0:
                with pytest.raises(ModelError, match=r"did not answer in 6 attempts .*; replies so far are cached"):
                    answers(vlm_direct, models, number=7)
            else:
                assert all(names(answer.scores) == ["sky"] for answer in answers(vlm_direct, models, number=7))
            assert len(server.asked(model)) == (5, 3)[number]  # the fifth was in flight


def test_thinking_aloud_keeps_the_picture_and_all_that_was_said() -> None:
    model = Script(lambda query: ["a green field", "lawn: present, green", '["lawn"]'][len(query.messages) // 2])
    (answer,) = answers(vlm_cot, language(model))
    assert names(answer.scores) == ["lawn"]
    describe, weigh, decide = model.asked
    assert all(query.image is not None for query in model.asked)
    assert weigh.messages[:2] == (*describe.messages, ("assistant", "a green field"))
    assert decide.messages[:4] == (*weigh.messages, ("assistant", "lawn: present, green"))
    assert (describe.names, weigh.names, decide.names) == (None, None, NAMES)
    assert [turn["answered"] for turn in answer.record["turns"]] == [
        "a green field",
        "lawn: present, green",
        '["lawn"]',
    ]


def test_thinking_aloud_in_one_turn_takes_the_last_object() -> None:
    model = Script(lambda _: 'There may be {"annotations": ["sky"]}. No: {"annotations": ["road"]}')
    (answer,) = answers(vlm_cot, language(model), turns=1)
    assert names(answer.scores) == ["road"]
    (query,) = model.asked
    assert query.names is None
    assert "- lawn: mown grass" in query.messages[0][1]


def test_who_decides_reads_the_description_and_sees_no_picture(bad_server: Misbehaving) -> None:
    eyes = ServerModel(bad_server.url, "thinker", constrained=True)
    reader = Script(lambda query: json.dumps(["lawn"] * ("a wide green meadow" in query.messages[0][1])))
    (answer,) = answers(describe_then_decide, language(eyes, reader))
    assert names(answer.scores) == ["lawn"]
    (query,) = reader.asked
    assert query.image is None
    assert [turn["answered"] for turn in answer.record["turns"]] == ["a wide green meadow", '["lawn"]']
    assert [turn["picture"] for turn in answer.record["turns"]] == ["plain", None]
    (seen,) = bad_server.asked("thinker")
    assert "image_url" in json.dumps(seen["messages"])


def test_without_a_description_nothing_is_decided() -> None:
    reader = Script(lambda _: '["lawn"]')
    (answer,) = answers(describe_then_decide, language(Script(lambda _: " "), reader))
    assert reader.asked == []
    assert not answer.scores.any()
    assert answer.record["parse_error"] == "no description"


# Votes ---------------------------------------------------------------------------------------------------------------


def test_half_of_the_votes_is_enough_for_a_tie_and_less_is_not() -> None:
    assert 500 / 1001 < threshold(True) < 0.5 == threshold(False)


@pytest.mark.parametrize(("ties", "present"), [("present", ["sky", "lawn"]), ("absent", ["sky"])])
def test_scores_are_shares_of_the_votes_that_can_be_read(ties: str, present: list[str]) -> None:
    said = {0: '["sky"]', 1000: '["sky", "lawn"]', 2000: '["lawn", "sky"]', 3000: "hm", 3001: "hm", 4000: '["sky"]'}
    model = Script(lambda query: said[query.seed])
    (answer,) = answers(vlm_direct, language(model, votes={"number": 5, "ties": ties}))
    np.testing.assert_allclose(answer.scores, [1, 0, 0.5])
    assert [name for name, score in zip(NAMES, answer.scores, strict=True) if score > answer.threshold] == present
    assert answer.record["parse_errors"] == 1
    assert len(answer.record["parsed"]) == 5


@METHOD
def test_one_vote_is_no_voting(method: ModuleType) -> None:
    alone, voting = Script(lambda _: '["sky"]'), Script(lambda _: '["sky"]')
    (one,) = answers(method, language(alone, votes={"number": 1, "shuffle": False, "flip": False}))
    (first,) = answers(method, language(voting, votes={"number": 1, "shuffle": True, "flip": True}))
    assert one.record == first.record
    np.testing.assert_array_equal(one.scores, first.scores)


def test_votes_see_other_orders_and_mirrored_pictures() -> None:
    model = Script(lambda _: "[]")
    (answer,) = answers(vlm_direct, language(model, votes={"number": 8}))
    by_seed = {query.seed: query for query in model.asked}
    orders = [by_seed[seed].names for seed in range(0, 8000, 1000)]
    assert orders[0] == NAMES
    assert all(sorted(order) == sorted(NAMES) for order in orders)
    assert len(set(orders)) > 2
    assert [turn["picture"] for turn in answer.record["turns"]] == ["plain", "mirrored"] * 4
    plain, mirrored = noise((20, 30)), noise((20, 30))[:, ::-1]
    for vote in range(8):
        np.testing.assert_array_equal(by_seed[1000 * vote].image.pixels, mirrored if vote % 2 else plain)
    for query, order in zip((by_seed[seed] for seed in range(0, 8000, 1000)), orders, strict=True):
        places = [query.messages[0][1].index(f"- {name}:") for name in order]
        assert places == sorted(places)


# Yes or no -----------------------------------------------------------------------------------------------------------


def test_a_class_scores_as_yes_is_likelier_than_no() -> None:
    belief = {"sky": 0.9, "road": 0.5, "lawn (mown grass)": None}
    model = Script(
        lambda query: ChatReply("?", yes=belief[query.messages[0][1].partition("class: ")[2].partition("?")[0]])
    )
    (answer,) = answers(vlm_yes_no, language(model))
    np.testing.assert_allclose(answer.scores, [0.9, 0.5, 0])
    assert answer.threshold == 0.5
    assert answer.record["parsed"] == [["sky"]]
    assert answer.record["parse_error"] == "neither yes nor no: lawn"


def test_the_mean_over_mirrored_pictures_is_a_vote() -> None:
    plain = noise((20, 30))
    model = Script(lambda query: ChatReply("", yes=0.25 if np.array_equal(query.image.pixels, plain) else 0.75))
    (answer,) = answers(vlm_yes_no, language(model, votes={"number": 3}))
    np.testing.assert_allclose(answer.scores, 0.5)


@pytest.mark.parametrize(
    ("method", "options", "line"),
    [
        (vlm_direct, {"prompt": ""}, "label.options.vlm_direct.prompt: expected a prompt, found ''"),
        (vlm_direct, {"prompt": 3}, "expected a prompt, found 3"),
        (vlm_direct, {"prompt": "what is it?"}, "expected {classes} where it goes, found 'what is it"),
        (vlm_cot, {"weigh": "?"}, r"vlm_cot.weigh: expected \{classes\}"),
        (describe_then_decide, {"decide": "{classes}"}, r"decide: expected \{description\}"),
        (vlm_yes_no, {"prompt": "any?"}, r"vlm_yes_no.prompt: expected \{class\}"),
        (vlm_cot, {"turns": 2}, "vlm_cot.turns: expected 1 or 3, found 2"),
    ],
)
def test_options_that_mean_nothing_are_told(method: ModuleType, options: dict, line: str) -> None:
    with pytest.raises(ParamsError, match=line):
        answers(method, language(Script(lambda _: "[]")), **options)


def test_large_pictures_are_shrunk_and_small_ones_left_alone() -> None:
    assert shrink(noise((100, 300)), 60).shape == (20, 60, 3)
    assert shrink(noise((500, 1)), 10).shape == (10, 1, 3)
    small = noise((20, 30))
    assert shrink(small, 30) is small
    assert shrink(small, None) is small
    np.testing.assert_array_equal(shrink(np.full((90, 60, 3), 77, np.uint8), 30), 77)
