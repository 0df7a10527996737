"""Models on this machine: a tiny LLaVA with random weights, asked for real."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.encoders.models import noise
from tests.hub import Hub, nobody, point_to
from tests.labels.language.models import NAMES, OPTIONS, Memory, frames, language, request
from tests.labels.language.tiny_llava import save_llama, save_llava
from tests.labels.language.tiny_qwen import save_qwen
from wildseg.core import progress
from wildseg.core.errors import ModelError
from wildseg.labels.language.grammar import Tokens
from wildseg.labels.language.local import LocalModel
from wildseg.labels.language.messages import ChatQuery, ChatReply, ImageInput
from wildseg.labels.language.model_digest import digest
from wildseg.labels.language.sampling import ConstrainedSampler
from wildseg.methods.labels import describe_then_decide, vlm_cot, vlm_direct, vlm_yes_no


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local(save_llava(tmp_path_factory.mktemp("models") / "llava"))


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    return local(save_qwen(tmp_path_factory.mktemp("models") / "qwen"))


def local(folder: Path, **changes: object) -> LocalModel:
    return LocalModel(folder.name, folder.parent, lambda: "cpu", **{"constrained": True, **changes})


def query(text: str = "which?", image: int = 0, **changes: object) -> ChatQuery:
    values = {"temperature": 0.0, "seed": 0, "max_tokens": 12, "names": NAMES, **changes}
    return ChatQuery((("user", text),), ImageInput(noise((20, 30), image)), **values)


def said(model: LocalModel, *queries: ChatQuery) -> list[ChatReply]:
    found = dict(model.complete(queries))
    return [found[place] for place in range(len(queries))]


@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_whatever_the_weights_the_answer_is_json_that_names_classes_once(llava: LocalModel, temperature: float) -> None:
    replies = said(llava, *(query(f"{number}?", number, temperature=temperature, seed=number) for number in range(9)))
    for reply in replies:
        content = json.loads(reply.text)
        assert list(content) == ["annotations"]
        assert set(content["annotations"]) <= set(NAMES)
        assert len(set(content["annotations"])) == len(content["annotations"])
        assert not reply.cut
        assert reply.tokens_in > 10
        assert reply.seconds > 0


def test_free_words_are_cut_at_the_limit_and_constrained_ones_never(llava: LocalModel) -> None:
    free, bound = said(llava, query(names=None), query(max_tokens=1))
    assert free.cut
    assert free.tokens_out == 12
    assert not bound.cut


def test_an_answer_is_the_likeliest_by_one_forward_at_a_time(llava: LocalModel) -> None:
    (reply,) = said(llava, query(names=None))
    network = llava._loaded
    inputs = network.inputs([query()])
    tokens = []
    with torch.no_grad():
        for _ in range(12):
            tokens.append(int(network.model(**inputs).logits[0, -1].argmax()))
            if tokens[-1] in network.ends:
                break
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens[-1:]])], 1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    assert reply.text == network.tokenizer.decode(tokens).strip()


def test_a_sample_depends_on_its_seed_and_not_on_its_neighbours(llava: LocalModel) -> None:
    own = [query(f"{'?' * number}", number, temperature=1.5, seed=number, names=None) for number in range(5)]
    together = said(llava, *own)
    assert [said(llava, one)[0].text for one in own] == [reply.text for reply in together]
    other = said(llava, *(query("", 0, temperature=1.5, seed=seed, names=None) for seed in range(6)))
    assert len({reply.text for reply in other}) == 6


def test_samples_are_as_frequent_as_their_probability() -> None:
    logits, temperature, number = torch.tensor([2.0, 0.0, 1.0, -3.0]), 1.5, 4000
    queries = [query(temperature=temperature, seed=seed, names=None) for seed in range(number)]
    choice = ConstrainedSampler(queries, [None] * number, Tokens({}, []), length=1)
    chosen = choice(torch.zeros(number, 1, dtype=torch.long), logits.expand(number, -1)).argmax(1)
    expected = (logits / temperature).softmax(0)
    shares = torch.bincount(chosen, minlength=4) / number
    assert (abs(shares - expected) < 5 * (expected * (1 - expected) / number).sqrt()).all()


def test_the_picture_and_the_words_matter(llava: LocalModel) -> None:
    texts = [
        reply.text for reply in said(llava, query(names=None), query(image=1, names=None), query("what?", names=None))
    ]
    assert len(set(texts)) == 3


@pytest.mark.parametrize("method", [vlm_direct, vlm_cot, describe_then_decide, vlm_yes_no])
def test_methods_have_labels_for_every_frame_of_any_size(method: object, llava: LocalModel) -> None:
    options = OPTIONS[method.__name__.rsplit(".", 1)[-1]]
    asked = [*frames(2), *frames(1, shape=(64, 9))]
    found = list(method.label(asked, request(language(llava)), **options))
    assert [answer.record["parse_errors"] for answer in found] == [0, 0, 0]
    assert all(((answer.scores >= 0) & (answer.scores <= 1)).all() for answer in found)


def test_yes_and_no_are_summed_over_the_ways_to_write_them(llava: LocalModel) -> None:
    queries = [query(f"Is there any {name}? ", yes_no=True, names=None) for name in ("sky", "grey road", "x")]
    found = said(llava, *queries)
    words = llava._loaded.tokenizer
    ids = [[words.convert_tokens_to_ids(form) for form in forms] for forms in (("yes", "Yes"), ("no", "No"))]
    with torch.no_grad():
        for one, reply in zip(queries, found, strict=True):
            last = llava._loaded.model(**llava._loaded.inputs([one])).logits[0, -1].double().exp()
            yes, no = last[ids[0]].sum(), last[ids[1]].sum()
            assert reply.yes == pytest.approx(float(yes / (yes + no)), abs=1e-5)
    assert len({reply.yes for reply in found}) == 3


TEXTS = ("sky", "old grey road", "x", "old tree", "lawn", "oar", "old grey rock")  # more than a batch


def test_questions_that_share_their_beginning_are_answered_as_if_they_did_not(
    llava: LocalModel, qwen: LocalModel
) -> None:
    queries = [query(f"is there any {text}?", yes_no=True, names=None) for text in TEXTS]
    for model in (llava, qwen):
        network = model._loaded
        rows = [network.inputs([one]) for one in queries]
        with torch.no_grad():
            apart = torch.stack([network._logits(row)[0] for row in rows])
            torch.testing.assert_close(network._shared(rows), apart, atol=1e-4, rtol=1e-4)
        replies = said(model, *queries)
        assert len({reply.yes for reply in replies}) == 7
        assert [reply.tokens_in for reply in replies] == [row["input_ids"].shape[1] for row in rows]
        assert network._shares is True


@pytest.mark.parametrize("method", [vlm_direct, vlm_cot, describe_then_decide, vlm_yes_no])
def test_a_model_that_takes_pictures_of_any_size_labels_them(method: object, qwen: LocalModel) -> None:
    options = OPTIONS[method.__name__.rsplit(".", 1)[-1]]
    asked = [*frames(2), *frames(1, shape=(90, 40))]
    found = list(method.label(asked, request(language(qwen)), **options))
    assert [answer.record["parse_errors"] for answer in found] == [0, 0, 0]


def test_a_picture_is_read_once_for_all_classes(llava: LocalModel) -> None:
    network = llava._loaded
    said(llava, *(query(f"any {name}?", yes_no=True, names=None) for name in NAMES))
    assert network._shares is True
    seen = []
    hook = network.model.model.vision_tower.register_forward_hook(lambda *_: seen.append(1))
    try:
        said(llava, *(query(f"any {name}?", 3, yes_no=True, names=None) for name in NAMES * 5))
    finally:
        hook.remove()
    assert len(seen) == 1


def test_a_model_that_only_reads_can_answer_words_and_is_told_apart_from_one_that_sees(tmp_path: Path) -> None:
    llama = local(save_llama(tmp_path / "llama"))
    (reply,) = said(llama, ChatQuery((("user", "a lawn"),), None, 1.0, 0, 9, NAMES))
    assert set(json.loads(reply.text)["annotations"]) <= set(NAMES)
    with pytest.raises(ModelError, match="expected a model with vision, .* has none"):
        said(llama, query())


def test_models_are_told_apart_by_every_byte_and_large_files_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_llama(tmp_path / "llama")
    weights, before = folder / "model.safetensors", digest(folder)
    assert local(folder).identity == ["local", before, True, ""]
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1  # a fine-tuned model has the same names, sizes and ends
    weights.write_bytes(content)
    tuned = digest(folder)
    (folder / "merges.txt").write_text("a b")
    assert len({before, tuned, digest(folder)}) == 3
    monkeypatch.setattr("wildseg.labels.language.model_digest.LARGE", 1000)
    memory = Memory()
    assert local(folder, digests=memory).identity[1] == digest(folder)
    kept = dict(memory.kept)
    assert 0 < len(kept) < len(list(folder.iterdir()))
    memory.kept = {parts: json.dumps({"sha256": "0" * 64}) for parts in kept}
    assert digest(folder, memory) != digest(folder)  # not read again
    weights.write_bytes(content)
    assert digest(folder, memory) != digest(folder)
    memory.kept = dict.fromkeys(kept, "[7]")
    assert digest(folder, memory) == digest(folder)
    monkeypatch.undo()
    assert digest(folder) == digest(folder, Memory())


def test_a_large_file_that_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wildseg.labels.language.model_digest.LARGE", 1)
    memory, file = Memory(), tmp_path / "model.safetensors"
    found = set()
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        os.utime(file, ns=(0, len(found)))  # as if time had passed
        found.add(digest(tmp_path, memory))
    assert len(found) == 2
    assert len(memory.kept) == 3


def test_what_a_folder_wishes_for_its_answers_does_not_change_them(tmp_path: Path) -> None:
    plain, wishful = save_llama(tmp_path / "plain"), save_llama(tmp_path / "wishful")
    wishes = {"eos_token_id": [2], "do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0, "num_beams": 3,
              "min_new_tokens": 30, "suppress_tokens": [40, 41], "max_length": 3, "top_k": 1}  # fmt: skip
    (wishful / "generation_config.json").write_text(json.dumps(wishes))
    queries = [
        ChatQuery((("user", f"a lawn {n}"),), None, temperature, n, 20, names)
        for n, (temperature, names) in enumerate([(0.0, None), (1.0, None), (0.0, NAMES), (1.0, NAMES)])
    ]
    first, second = ([(reply.text, reply.cut) for reply in said(local(own), *queries)] for own in (plain, wishful))
    assert first == second
    assert all(json.loads(text) for text, _ in second[2:])


@pytest.mark.parametrize("save", [save_llama, save_llava])
def test_a_model_without_a_form_for_conversations_is_told(save: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = save(tmp_path / "base")
    for path in folder.glob("*.jinja"):
        path.unlink()
    for path in folder.glob("*config.json"):
        content = json.loads(path.read_text())
        content.pop("chat_template", None)
        path.write_text(json.dumps(content))
    with pytest.raises(
        ModelError, match="made for conversation, .* has no chat template; choose the variant"
    ) as caught:
        said(local(folder), ChatQuery((("user", "a lawn"),), None, 0.0, 0, 9))
    assert "\n" not in str(caught.value)


def test_a_form_that_refuses_what_is_said_is_told(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "llama")
    (folder / "chat_template.jinja").write_text("{{ raise_exception('A system message must come first') }}")
    with pytest.raises(ModelError, match="has a chat template that fails .A system message must come first"):
        said(local(folder), ChatQuery((("user", "a lawn"),), None, 0.0, 0, 9))


def test_a_class_that_the_tokens_cannot_write_is_told(llava: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = llava._loaded.tokens
    short = {token: text for token, text in tokens.texts.items() if text != b"\xc3"}
    monkeypatch.setattr(llava._loaded, "tokens", Tokens(short, tokens._end))
    assert json.loads(said(llava, query())[0].text)
    with pytest.raises(ModelError, match="no token for the bytes .*xc3.*; rename the class, or set"):
        said(llava, query(names=("sky", "gr\u00fcn")))


def test_a_batch_without_room_is_answered_in_halves(llava: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [query(f"{n}?", n, temperature=1.0, seed=n) for n in range(4)]
    expected = [reply.text for reply in said(llava, *own)]
    network, room = llava._loaded, 1
    generate = network.model.generate

    def cramped(**inputs: Any) -> torch.Tensor:  # noqa: ANN401
        if len(inputs["input_ids"]) > room:
            raise torch.OutOfMemoryError
        return generate(**inputs)

    monkeypatch.setattr(network.model, "generate", cramped)
    assert [reply.text for reply in said(llava, *own)] == expected
    room = 0
    with pytest.raises(ModelError, match="runs out of GPU memory with one image; lower label.language.max_side"):
        said(llava, *own)


def test_a_model_in_half_precision_is_given_pictures_in_half_precision(
    llava: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llava._loaded, "model", copy.deepcopy(llava._loaded.model).to(torch.bfloat16))
    assert llava._loaded.inputs([query()])["pixel_values"].dtype == torch.bfloat16
    assert json.loads(said(llava, query())[0].text)


@pytest.mark.parametrize("constrained", [True, False])
@pytest.mark.parametrize("name", ["llava", "qwen"])
def test_a_batch_of_long_and_short_conversations_is_answered_as_one_by_one(
    name: str, constrained: bool, request: pytest.FixtureRequest
) -> None:
    model: LocalModel = request.getfixturevalue(name)
    turns = (("assistant", "I see a road. " * 9), ("user", "and now?"))
    own = [
        ChatQuery(
            (("user", f"{'x' * 40 * n}?"), *(turns if n % 3 else ())),
            ImageInput(noise((30 + 40 * n, 90 - 20 * n), n)),
            temperature=0.7 * (n % 2), seed=n, max_tokens=12, names=NAMES if constrained else None,
        )
        for n in range(4)
    ]  # fmt: skip
    together = [(reply.text, reply.tokens_in, reply.tokens_out) for reply in said(model, *own)]
    apart = [(reply.text, reply.tokens_in, reply.tokens_out) for one in own for reply in said(model, one)]
    assert together == apart


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x04garbage", b"[" * 10_000])
def test_a_folder_that_is_no_model_is_told_in_one_line(file: str, content: bytes | None, tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "llama")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match="expected a model that transformers can read") as caught:
        said(local(folder), ChatQuery((("user", "a lawn"),), None, 0.0, 0, 9))
    assert "\n" not in str(caught.value)


def test_a_model_of_the_hub_is_fetched_with_progress_and_answers_as_that_in_a_folder(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_llama(tmp_path / "llama")
    hub.repositories["makers/talk"] = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(progress, "MEGABYTE", 1e4)  # it is a small one
    request = ChatQuery((("user", "a lawn"),), None, 0.0, 0, 9)
    fetched = LocalModel("makers/talk", tmp_path, lambda: "cpu", constrained=True)
    assert said(fetched, request)[0].text == said(local(folder), request)[0].text
    assert "makers/talk/model.safetensors: download begins, " in capsys.readouterr().err


def test_a_model_that_cannot_be_fetched_is_told_with_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = nobody()
    point_to(address, tmp_path, monkeypatch)
    line = f"'makers/talk' is no folder here, and could not be fetched from {address}/makers/talk: connection refused; "
    with pytest.raises(ModelError, match=line):
        said(LocalModel("makers/talk", tmp_path, lambda: "cpu", constrained=True), query())


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    folder = save_llava(tmp_path / "llava")
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in sorted(weights) if "projector" in name)
    save_file({name: tensor for name, tensor in weights.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(ModelError, match="expected all weights of a Llava.*, .* lacks 1 of them, such as .*projector"):
        said(local(folder), query())


def test_a_model_that_brings_code_is_refused(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "llama")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    marker = tmp_path / "marker"
    (folder / "mine.py").write_text(f"open({str(marker)!r}, 'w')\n")
    with pytest.raises(ModelError, match="without running its code"):
        said(local(folder), ChatQuery((("user", "a lawn"),), None, 0.0, 0, 9))
    assert not marker.exists()


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = save_llama(tmp_path / "llama")
    (folder / "model.safetensors").unlink()
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="from safetensors"):
        said(local(folder), ChatQuery((("user", "a lawn"),), None, 0.0, 0, 9))
