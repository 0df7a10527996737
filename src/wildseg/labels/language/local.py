"""A language model on this machine, by transformers: any image-text-to-text model, or any that only reads.

Weights are read from safetensors alone, and no code that lies beside them is run. Sampling is by Gumbel's trick, the
likeliest token after noise of each question's own seed, so that an answer does not depend on what else is in its batch
(but for rounding).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wildseg.errors import ModelError
from wildseg.labels.language.grammar import Grammar, State, Tokens, token_texts
from wildseg.labels.language.messages import Ask, Reply

if TYPE_CHECKING:
    import torch

BATCH = {"cpu": 4, "cuda": 16}
SAME = 0.02  # probabilities of tokens that may differ between two ways of computing them, in bfloat16
PICTURES = {"pixel_values", "image_grid_thw", "image_sizes"}
SAMPLE = 2**20  # bytes of each end of a large file that tell it from others
HASHED_WHOLE = 2**26


class Local:
    """Weights in a folder, or a name that transformers fetches; loaded when the first question is asked."""

    def __init__(self, model: str, root: Path, device: Callable[[], str], *, constrained: bool) -> None:
        """Remember which.

        Args:
            model: a folder, looked up below `root`, or the name of a model.
            root: the project folder.
            device: resolves the torch device.
            constrained: whether answers may only be JSON that names classes.
        """
        self.model, self.constrained = model, constrained
        folder = root / model
        self.folder = folder if folder.is_dir() else None
        self._device = device

    @cached_property
    def identity(self) -> Sequence[Any]:
        """The files of the folder (their sizes and contents, of large ones both ends), or the name."""
        return ["local", self.model if self.folder is None else digest(self.folder), self.constrained]

    @property
    def window(self) -> int:
        """The frames of some batches."""
        return 32

    def answer(self, asks: Sequence[Ask]) -> Iterator[tuple[int, Reply]]:
        """Yield the place of a question in `asks` and its answer, a batch at a time.

        Raises:
            ModelError: there is no such model, it cannot be read, or it cannot see.
        """
        network = self._loaded
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for place, ask in enumerate(asks):
            alike = ask.picture.digest if ask.yes_no and ask.picture else None
            kinds.setdefault((ask.yes_no, alike, ask.picture is None, self._limit(ask)), []).append(place)
        for (yes_no, *_, limit), places in kinds.items():
            size = len(places) if yes_no else BATCH.get(network.device, 16)
            for start in range(0, len(places), size):
                part = places[start : start + size]
                begun = time.monotonic()
                own = [asks[place] for place in part]
                replies = network.likelihoods(own) if yes_no else self._speak(own, limit)
                seconds = (time.monotonic() - begun) / len(part)
                yield from (
                    (place, replace(reply, seconds=seconds)) for place, reply in zip(part, replies, strict=True)
                )

    def _speak(self, asks: Sequence[Ask], limit: int) -> list[Reply]:
        grammars = [self._grammar(ask) for ask in asks]
        return self._loaded.speak(asks, grammars, limit)

    def _limit(self, ask: Ask) -> int:
        # An answer that may only be JSON is as long as the list of all classes at most: never cut, always read.
        grammar = self._grammar(ask)
        return ask.max_tokens if grammar is None else grammar.longest + 1

    def _grammar(self, ask: Ask) -> Grammar | None:
        if ask.names is None or not self.constrained:
            return None
        if ask.names not in self._grammars:
            self._grammars[ask.names] = Grammar(ask.names)
        return self._grammars[ask.names]

    @cached_property
    def _grammars(self) -> dict[tuple[str, ...], Grammar]:
        return {}

    @cached_property
    def _loaded(self) -> Network:
        return Network(self.model if self.folder is None else str(self.folder), self._device(), self.folder is not None)


class Network:
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
        safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": here}
        self.device = device.split(":")[0]
        dtype = torch.float32 if self.device == "cpu" else torch.bfloat16
        try:
            config = tf.AutoConfig.from_pretrained(model, **safe)
            self.sees = type(config) in tf.AutoModelForImageTextToText._model_mapping
            kind: Any = tf.AutoModelForImageTextToText if self.sees else tf.AutoModelForCausalLM
            reader: Any = (tf.AutoProcessor if self.sees else tf.AutoTokenizer).from_pretrained(model, **safe)
            network: Any = kind.from_pretrained(model, dtype=dtype, use_safetensors=True, **safe)
        except Exception as error:  # as many kinds as there are ways to build a model
            line = " ".join(str(error).split())[:200] or type(error).__name__
            advice = "see that it was copied whole" if here else "check the network, or name a folder of this machine"
            raise ModelError(
                f"label.language.model: expected a model that transformers can read from safetensors without running "
                f"its code, found {model!r} ({line}); {advice}"
            ) from error
        self.model, self.reader, self.name = network.to(device).eval(), reader, model
        self.tokenizer: Any = getattr(reader, "tokenizer", reader)
        self.tokenizer.padding_side = "left"
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        ends = network.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        self.ends: set[int] = set(ends) if isinstance(ends, list) else {ends} if ends is not None else set()
        if not self.ends or not getattr(reader, "chat_template", None):
            raise ModelError(
                f"label.language.model: expected a model made for conversation, {model!r} has no chat template"
            )
        self._shares: bool | None = None  # whether questions can share what they begin with; not known yet
        self.tokens = Tokens(token_texts(self.tokenizer), self.ends)

    def inputs(self, asks: Sequence[Ask]) -> Any:  # noqa: ANN401
        """Return questions of one kind as tensors, padded on the left."""
        from PIL import Image

        talks: list[list[dict[str, Any]]] = []
        for ask in asks:
            talk: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in ask.messages]
            if self.sees:
                talk = [{**said, "content": [{"type": "text", "text": said["content"]}]} for said in talk]
            if ask.picture is not None:
                if not self.sees:
                    raise ModelError(
                        f"label.language.model: expected a model that sees pictures, {self.name!r} only reads"
                    )
                talk[0]["content"].insert(0, {"type": "image", "image": Image.fromarray(ask.picture.pixels)})
            talks.append(talk)
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
        return self.reader.apply_chat_template(talks, padding=True, **options).to(self.model.device)

    def speak(self, asks: Sequence[Ask], grammars: Sequence[Grammar | None], limit: int) -> list[Reply]:
        """Answer questions of one kind, each in at most `limit` tokens."""
        import torch
        import transformers as tf

        inputs = self.inputs(asks)
        length = inputs["input_ids"].shape[1]
        choose = Choice(asks, grammars, self.tokens, length)
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

    def _reply(self, tokens: list[int], read: int) -> Reply:
        end = next((place for place, token in enumerate(tokens) if token in self.ends), None)
        own = tokens if end is None else tokens[:end]
        text = b"".join(self.tokens.texts.get(token, b"") for token in own).decode(errors="replace").strip()
        return Reply(text, cut=end is None, tokens_in=int(read), tokens_out=len(own) + (end is not None))

    def likelihoods(self, asks: Sequence[Ask]) -> list[Reply]:
        """Answer questions about one picture by how likely yes is against no."""
        import torch

        yes, no = (self._forms(word) for word in ("yes", "no"))
        with torch.inference_mode():
            logits = self._last_logits(asks).float().cpu()
        replies = []
        for row in logits:
            odds = torch.logsumexp(row[yes], 0) - torch.logsumexp(row[no], 0)
            likeliest = self.tokens.texts.get(int(row.argmax()), b"").decode(errors="replace").strip()
            replies.append(Reply(likeliest, tokens_out=1, yes=float(odds.double().sigmoid())))
        return replies

    def _last_logits(self, asks: Sequence[Ask]) -> torch.Tensor:
        """Return the logits of the next token after each question about one picture: (n, V).

        What the questions begin with, the picture included, is read once. Whether a model can go on from there for
        several questions is tried with the first two that it is asked: some number their tokens in ways of their own.
        """
        import torch

        one_by_one = lambda own: torch.stack([self._logits(self.inputs([ask]))[0] for ask in own])  # noqa: E731
        if len(asks) < 2 or self._shares is False:
            return one_by_one(asks)
        try:
            shared = self._shared(asks)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError):
            if self._shares:
                raise
            self._shares = False
            return one_by_one(asks)
        if self._shares is None:
            apart = one_by_one(asks[:2]).float().softmax(-1) - shared[:2].float().softmax(-1)
            self._shares = bool(apart.abs().max() < SAME)
        return shared if self._shares else one_by_one(asks)

    def _shared(self, asks: Sequence[Ask]) -> torch.Tensor:
        import torch

        rows = [self.inputs([ask]) for ask in asks]
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
        past.batch_repeat_interleave(len(asks))
        ends = [own[common:] for own in tokens]
        longest = max(map(len, ends))
        device = rows[0]["input_ids"].device
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([own + [pad] * (longest - len(own)) for own in ends], device=device)
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


class Choice:
    """A logits processor: rules out what the grammar does not allow, and adds the noise that makes a sample."""

    def __init__(self, asks: Sequence[Ask], grammars: Sequence[Grammar | None], tokens: Tokens, length: int) -> None:
        """Begin answers; `length` is that of the questions."""
        import torch

        self._asks, self._grammars, self._tokens, self._length = asks, grammars, tokens, length
        self._states: list[State] = [grammar.start if grammar else frozenset() for grammar in grammars]
        self._noise = [torch.Generator().manual_seed(ask.seed) for ask in asks]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores (B, V) of the next tokens, after the tokens (B, length) so far."""
        import torch

        scores = scores.float().clone()
        for row, (ask, grammar) in enumerate(zip(self._asks, self._grammars, strict=True)):
            if ask.temperature > 0:
                uniform = torch.rand(scores.shape[1], generator=self._noise[row]).clamp(1e-20, 1 - 1e-7)
                scores[row] = scores[row] / ask.temperature - (-uniform.log()).log().to(scores.device)
            if grammar is None:
                continue
            if input_ids.shape[1] > self._length:
                text = self._tokens.texts.get(int(input_ids[row, -1]), b"")
                self._states[row] = grammar.walk(self._states[row], text)
            allowed = self._tokens.allowed(grammar, self._states[row])
            kept = scores[row, allowed]
            scores[row] = -torch.inf
            scores[row, allowed] = kept
        return scores


def digest(folder: Path) -> str:
    """Return what tells the model in a folder from others, hex, without reading gigabytes."""
    whole = hashlib.sha256()
    for path in sorted(
        path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".jinja", ".model")
    ):
        size = path.stat().st_size
        whole.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as stream:
            if size <= HASHED_WHOLE:
                whole.update(stream.read())
                continue
            whole.update(stream.read(SAMPLE))
            stream.seek(size - SAMPLE)
            whole.update(stream.read(SAMPLE))
    return whole.hexdigest()
