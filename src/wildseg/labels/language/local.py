"""A language model on this machine, by transformers: any image-text-to-text model, or any that only reads.

Weights are read from safetensors alone, and no code that lies beside them is run. Of the settings for generating that
lie there only the tokens that end an answer are taken: how an answer is chosen is said by the question.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.core.errors import ModelError
from wildseg.encoders.downloads import hub_folder, short
from wildseg.labels.language.grammar import Grammar, Tokens, token_bytes
from wildseg.labels.language.messages import ChatQuery, ChatReply, RecordCache
from wildseg.labels.language.model_digest import digest
from wildseg.labels.language.sampling import ConstrainedSampler

if TYPE_CHECKING:
    import torch

BATCH = {"cpu": 4, "cuda": 16}
SAME = 0.02  # probabilities of tokens that may differ between two ways of computing them, in bfloat16
PICTURES = {"pixel_values", "image_grid_thw", "image_sizes"}


class LocalModel:
    """Weights in a folder, or a name that transformers fetches; loaded when the first question is asked."""

    def __init__(
        self,
        model: str,
        root: Path,
        device: Callable[[], str],
        *,
        constrained: bool,
        digests: RecordCache | None = None,
        code: str = "",
    ) -> None:
        """Remember which.

        Args:
            model: a folder, looked up below `root`, or the name of a model.
            root: the project folder.
            device: resolves the torch device.
            constrained: whether answers may only be JSON that names classes.
            digests: remembers those of large files.
            code: the fingerprint of this client, part of its identity.
        """
        self._digests, self._code = digests, code
        self.model, self.constrained = model, constrained
        folder = root / model
        self.folder = folder if folder.is_dir() else None
        self._device = device

    @cached_property
    def identity(self) -> Sequence[Any]:
        """The contents of the folder, or the name; and the code of this client."""
        known = self.model if self.folder is None else digest(self.folder, self._digests)
        return ["local", known, self.constrained, self._code]

    @property
    def window(self) -> int:
        """The frames of some batches."""
        return 32

    def complete(self, queries: Sequence[ChatQuery]) -> Iterator[tuple[int, ChatReply]]:
        """Yield the place of a question in `queries` and its answer, a batch at a time.

        Raises:
            ModelError: there is no such model, it cannot be read, or it cannot see.
        """
        network = self._loaded
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for place, query in enumerate(queries):
            alike = query.image.digest if query.yes_no and query.image else None
            kinds.setdefault((query.yes_no, alike, query.image is None, self._limit(query)), []).append(place)
        for (yes_no, *_, limit), places in kinds.items():
            size = len(places) if yes_no else BATCH.get(network.device, 16)
            for start in range(0, len(places), size):
                part = places[start : start + size]
                begun = time.monotonic()
                own = [queries[place] for place in part]
                replies = network.yes_probabilities(own) if yes_no else self._generate(own, limit)
                seconds = (time.monotonic() - begun) / len(part)
                yield from (
                    (place, replace(reply, seconds=seconds)) for place, reply in zip(part, replies, strict=True)
                )

    def _generate(self, queries: Sequence[ChatQuery], limit: int) -> list[ChatReply]:
        """Answer a batch; one that the GPU's memory has no room for, in halves."""
        import torch

        grammars = [self._grammar(query) for query in queries]
        try:
            return self._loaded.generate(queries, grammars, limit)
        except torch.OutOfMemoryError as error:
            if len(queries) == 1:
                raise ModelError(
                    f"label.language.model: {self.model!r} found no room in the GPU's memory for one picture; lower "
                    "label.language.max_side or max_tokens, or choose a smaller model"
                ) from error
        half = len(queries) // 2  # outside of the handler, which holds on to what did not fit
        return self._generate(queries[:half], limit) + self._generate(queries[half:], limit)

    def _limit(self, query: ChatQuery) -> int:
        # An answer that may only be JSON is as long as the list of all classes at most: never cut, always read.
        grammar = self._grammar(query)
        return query.max_tokens if grammar is None else grammar.longest + 1

    def _grammar(self, query: ChatQuery) -> Grammar | None:
        if query.names is None or not self.constrained:
            return None
        if query.names not in self._grammars:
            self._grammars[query.names] = Grammar(query.names)
        return self._grammars[query.names]

    @cached_property
    def _grammars(self) -> dict[tuple[str, ...], Grammar]:
        return {}

    @cached_property
    def _loaded(self) -> ChatNetwork:
        return ChatNetwork(
            self.model if self.folder is None else str(self.folder), self._device(), self.folder is not None
        )


def model_folder(model: str, root: Path = Path()) -> Path:
    """Return the folder of a model: that of this name below `root`, or one of the hub's cache, fetched if need be.

    Raises:
        ModelError: it cannot be had.
    """
    if (root / model).is_dir():
        return root / model
    what = f"label.language.model: {model!r} is no folder here, and"
    return hub_folder(what, model, "give a folder as label.language.model")


class ChatNetwork:
    """The loaded model, its tokenizer, and how it is talked to."""

    def __init__(self, model: str, device: str, here: bool) -> None:
        """Load it; `here` says that it is a folder, and nothing is to be fetched.

        Raises:
            ModelError: it cannot be had.
        """
        import torch
        import transformers as tf
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        folder = model if here else str(model_folder(model))
        safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        self.device = device.split(":")[0]
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        try:
            config = tf.AutoConfig.from_pretrained(folder, **safe)
            self.sees = type(config) in tf.AutoModelForImageTextToText._model_mapping
            kind: Any = tf.AutoModelForImageTextToText if self.sees else tf.AutoModelForCausalLM
            reader: Any = (tf.AutoProcessor if self.sees else tf.AutoTokenizer).from_pretrained(folder, **safe)
            network, report = kind.from_pretrained(
                folder, dtype=dtype, use_safetensors=True, output_loading_info=True, **safe
            )
            network = network.to(device)
        except torch.OutOfMemoryError as error:
            raise ModelError(
                f"label.language.model: {model!r} found no room in the memory of {device}; choose a smaller one, or "
                "set WILDSEG_DEVICE=cpu"
            ) from error
        except Exception as error:  # as many kinds as there are ways to build a model
            line = short(str(error) or type(error).__name__, 200)
            advice = "see that it was copied whole" if here else f"it was fetched to {folder}"
            raise ModelError(
                f"label.language.model: expected a model that transformers can read from safetensors without running "
                f"its code, found {model!r} ({line}); {advice}"
            ) from error
        if missing := sorted(report["missing_keys"]):  # transformers would fill them with noise
            raise ModelError(
                f"label.language.model: expected all weights of a {type(network).__name__}, {model!r} lacks "
                f"{len(missing)} of them, such as {missing[0]}"
            )
        self.model, self.reader, self.name = network.eval(), reader, model
        self.tokenizer: Any = getattr(reader, "tokenizer", reader)
        self.tokenizer.padding_side = "left"
        ends = network.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        self.ends: set[int] = set(ends) if isinstance(ends, list) else {ends} if ends is not None else set()
        lacks = "chat template" if not getattr(reader, "chat_template", None) else "token that ends an answer"
        if lacks == "chat template" or not self.ends:
            raise ModelError(
                f"label.language.model: expected a model made for conversation, {model!r} has no {lacks}; choose the "
                "variant that its makers call instruct or chat, or copy chat_template.jinja from there into the folder"
            )
        # What others wish for its answers, such as beams or penalties, is not what was asked for here.
        network.generation_config = tf.GenerationConfig()
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.convert_ids_to_tokens(min(self.ends))
        self._shares: bool | None = None  # whether questions can share what they begin with; not known yet
        self.tokens = Tokens(token_bytes(self.tokenizer), self.ends)

    def inputs(self, queries: Sequence[ChatQuery]) -> Any:  # noqa: ANN401
        """Return questions of one kind as tensors, padded on the left.

        Raises:
            ModelError: the model only reads, and there is a picture; or its template refuses what is said.
        """
        from PIL import Image

        talks: list[list[dict[str, Any]]] = []
        for query in queries:
            talk: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in query.messages]
            if self.sees:
                talk = [{**said, "content": [{"type": "text", "text": said["content"]}]} for said in talk]
            if query.image is not None:
                if not self.sees:
                    raise ModelError(
                        f"label.language.model: expected a model that sees pictures, {self.name!r} only reads"
                    )
                talk[0]["content"].insert(0, {"type": "image", "image": Image.fromarray(query.image.pixels)})
            talks.append(talk)
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
        try:
            found = self.reader.apply_chat_template(talks, padding=True, **options)
        except Exception as error:  # a template is a program of the model's makers
            line = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(f"label.language.model: {self.name!r} cannot be asked in its own form ({line})") from error
        found = found.to(self.model.device)
        whole = {name: value for name, value in found.items() if hasattr(value, "is_floating_point")}
        return {**found, **{name: v.to(self.model.dtype) for name, v in whole.items() if v.is_floating_point()}}

    def generate(self, queries: Sequence[ChatQuery], grammars: Sequence[Grammar | None], limit: int) -> list[ChatReply]:
        """Answer questions of one kind, each in at most `limit` tokens.

        Raises:
            ModelError: the model has no tokens to write the names with.
        """
        import torch
        import transformers as tf

        if unspelt := {letter for grammar in grammars if grammar for letter in self.tokens.unwritable_bytes(grammar)}:
            raise ModelError(
                f"label.language.model: expected a tokenizer that can write every class, {self.name!r} has no token "
                f"for the bytes {bytes(sorted(unspelt))!r}; rename the class, or set label.language.constrained to "
                "false"
            )

        inputs = self.inputs(queries)
        length = inputs["input_ids"].shape[1]
        choose = ConstrainedSampler(queries, grammars, self.tokens, length)
        plain = tf.GenerationConfig(
            do_sample=False,
            max_new_tokens=limit,
            eos_token_id=sorted(self.ends),
            pad_token_id=self.tokenizer.pad_token_id,
        )
        with torch.inference_mode():
            said = self.model.generate(
                **inputs, generation_config=plain, logits_processor=tf.LogitsProcessorList([choose])
            )[:, length:].tolist()
        read = inputs["attention_mask"].sum(1).tolist()
        return [self._reply(tokens, number) for tokens, number in zip(said, read, strict=True)]

    def _reply(self, tokens: list[int], read: int) -> ChatReply:
        end = next((place for place, token in enumerate(tokens) if token in self.ends), None)
        own = tokens if end is None else tokens[:end]
        text = b"".join(self.tokens.texts.get(token, b"") for token in own).decode(errors="replace").strip()
        return ChatReply(text, cut=end is None, tokens_in=int(read), tokens_out=len(own) + (end is not None))

    def yes_probabilities(self, queries: Sequence[ChatQuery]) -> list[ChatReply]:
        """Answer questions about one picture by how likely yes is against no."""
        import torch

        yes, no = (self._forms(word) for word in ("yes", "no"))
        questions = [self.inputs([query]) for query in queries]
        with torch.inference_mode():
            logits = self._last_logits(questions).float().cpu()
        replies = []
        for row, inputs in zip(logits, questions, strict=True):
            odds = torch.logsumexp(row[yes], 0) - torch.logsumexp(row[no], 0)
            likeliest = self.tokens.texts.get(int(row.argmax()), b"").decode(errors="replace").strip()
            replies.append(
                ChatReply(likeliest, False, inputs["input_ids"].shape[1], 1, yes=float(odds.double().sigmoid()))
            )
        return replies

    def _last_logits(self, questions: Sequence[Any]) -> torch.Tensor:
        """Return the logits of the next token after each question about one picture: (n, V).

        What the questions begin with, the picture included, is read once. Whether a model can go on from there for
        several questions is tried with the first two that it is asked: some number their tokens in ways of their own.
        """
        import torch

        one_by_one = lambda own: torch.stack([self._logits(inputs)[0] for inputs in own])  # noqa: E731
        if len(questions) < 2 or self._shares is False:
            return one_by_one(questions)
        try:
            shared = self._shared(questions)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError):
            if self._shares:
                raise
            self._shares = False
            return one_by_one(questions)
        if self._shares is None:
            apart = one_by_one(questions[:2]).float().softmax(-1) - shared[:2].float().softmax(-1)
            self._shares = bool(apart.abs().max() < SAME)
        return shared if self._shares else one_by_one(questions)

    def _shared(self, rows: Sequence[Any]) -> torch.Tensor:
        import torch

        tokens = [row["input_ids"][0].tolist() for row in rows]
        shortest = min(map(len, tokens)) - 1  # each is left with a token to be asked about
        common = next((i for i in range(shortest) if len({own[i] for own in tokens}) > 1), shortest)
        # Cut what belongs to tokens, and leave the pictures whole.
        whole = len(tokens[0])
        begun = {
            name: value[:, :common] if value.dim() == 2 and value.shape[1] == whole and name not in PICTURES else value
            for name, value in rows[0].items()
        }
        past = self.model(**begun, use_cache=True).past_key_values
        ends = [own[common:] for own in tokens]
        size = BATCH.get(self.device, 16)  # what was read is copied for each question of a batch, and no more
        return torch.cat([self._after(past, ends[start : start + size]) for start in range(0, len(ends), size)])

    def _after(self, past: Any, ends: Sequence[Sequence[int]]) -> torch.Tensor:  # noqa: ANN401
        """Return the logits of the next token after each of `ends`, which follow on `past`: (n, V)."""
        import torch

        past = copy.deepcopy(past)
        past.batch_repeat_interleave(len(ends))
        longest = max(map(len, ends))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[*own, *[pad] * (longest - len(own))] for own in ends], device=self.model.device)
        # No mask: what pads the ends on the right is after every token that is read.
        logits = self.model(input_ids=ids, past_key_values=past, use_cache=True).logits
        return torch.stack([logits[row, len(own) - 1] for row, own in enumerate(ends)])

    def _logits(self, inputs: Any) -> torch.Tensor:  # noqa: ANN401
        return self.model(**inputs, logits_to_keep=1).logits[:, -1]

    def _forms(self, word: str) -> list[int]:
        found = [token for token, text in self.tokens.texts.items() if text.strip(b" \n").lower() == word.encode()]
        if not found:
            raise ModelError(f"label.language.model: expected a tokenizer with {word!r} as one token; use vlm_direct")
        return found
