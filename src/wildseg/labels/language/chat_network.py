"""A chat model by transformers: loading, generation under a grammar, and probabilities of yes against no.

Weights are loaded from safetensors alone, without running code that lies beside them. Of the generation settings in the
folder only the tokens that end a reply apply; the query sets the others.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wildseg.core.errors import ModelError
from wildseg.encoders.downloads import short
from wildseg.labels.language.grammar import Grammar, Tokens, token_bytes
from wildseg.labels.language.messages import ChatQuery, ChatReply
from wildseg.labels.language.sampling import ConstrainedSampler

if TYPE_CHECKING:
    import torch

BATCH = {"cpu": 4, "cuda": 16}
SAME = 0.02  # tolerance of token probabilities with and without a shared prefix, in bfloat16
PICTURES = {"pixel_values", "image_grid_thw", "image_sizes"}


class ChatNetwork:
    """A loaded model and its tokenizer: generation, and probabilities of yes against no."""

    def __init__(self, name: str, folder: str, device: str, *, local: bool) -> None:
        """Load a model.

        Args:
            name: for messages.
            folder: holds the model.
            device: a torch device.
            local: the folder is the user's own, not a download.

        Raises:
            ModelError: it cannot be loaded, or is no chat model.
        """
        import torch
        import transformers as tf
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
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
                f"label.language.model: {name!r} found no room in the memory of {device}; choose a smaller one, or "
                "set WILDSEG_DEVICE=cpu"
            ) from error
        except Exception as error:  # as many kinds as there are ways to build a model
            line = short(str(error) or type(error).__name__, 200)
            advice = "check that it was copied completely" if local else f"it was fetched to {folder}"
            raise ModelError(
                f"label.language.model: expected a model that transformers can read from safetensors without running "
                f"its code, found {name!r} ({line}); {advice}"
            ) from error
        if missing := sorted(report["missing_keys"]):  # transformers would fill them with noise
            raise ModelError(
                f"label.language.model: expected all weights of a {type(network).__name__}, {name!r} lacks "
                f"{len(missing)} of them, such as {missing[0]}"
            )
        self.model, self.reader, self.name = network.eval(), reader, name
        self.tokenizer: Any = getattr(reader, "tokenizer", reader)
        self.tokenizer.padding_side = "left"
        ends = network.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        self.ends: set[int] = set(ends) if isinstance(ends, list) else {ends} if ends is not None else set()
        lacks = "chat template" if not getattr(reader, "chat_template", None) else "token that ends an answer"
        if lacks == "chat template" or not self.ends:
            raise ModelError(
                f"label.language.model: expected a model made for conversation, {name!r} has no {lacks}; choose the "
                "variant that its makers call instruct or chat, or copy chat_template.jinja from there into the folder"
            )
        # The folder's own generation settings, such as beams or penalties, do not apply here.
        network.generation_config = tf.GenerationConfig()
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.convert_ids_to_tokens(min(self.ends))
        self._shares: bool | None = None  # whether queries can share the cache of a common prefix; not tested yet
        self.tokens = Tokens(token_bytes(self.tokenizer), self.ends)

    def inputs(self, queries: Sequence[ChatQuery]) -> Any:  # noqa: ANN401
        """Return queries of one kind as tensors, padded on the left.

        Raises:
            ModelError: an image for a model without vision, or a chat template that fails.
        """
        from PIL import Image

        chats: list[list[dict[str, Any]]] = []
        for query in queries:
            chat: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in query.messages]
            if self.sees:
                chat = [{**message, "content": [{"type": "text", "text": message["content"]}]} for message in chat]
            if query.image is not None:
                if not self.sees:
                    raise ModelError(f"label.language.model: expected a model with vision, {self.name!r} has none")
                chat[0]["content"].insert(0, {"type": "image", "image": Image.fromarray(query.image.pixels)})
            chats.append(chat)
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
        try:
            found = self.reader.apply_chat_template(chats, padding=True, **options)
        except Exception as error:  # a template is a program of the model's makers
            line = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(f"label.language.model: {self.name!r} has a chat template that fails ({line})") from error
        found = found.to(self.model.device)
        whole = {name: value for name, value in found.items() if hasattr(value, "is_floating_point")}
        return {**found, **{name: v.to(self.model.dtype) for name, v in whole.items() if v.is_floating_point()}}

    def generate(self, queries: Sequence[ChatQuery], grammars: Sequence[Grammar | None], limit: int) -> list[ChatReply]:
        """Generate replies to queries of one kind, each of at most `limit` tokens.

        Raises:
            ModelError: the tokenizer cannot write the names.
        """
        import torch
        import transformers as tf

        if unwritable := {
            letter for grammar in grammars if grammar for letter in self.tokens.unwritable_bytes(grammar)
        }:
            raise ModelError(
                f"label.language.model: expected a tokenizer that can write every class, {self.name!r} has no token "
                f"for the bytes {bytes(sorted(unwritable))!r}; rename the class, or set label.language.constrained to "
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
            generated = self.model.generate(
                **inputs, generation_config=plain, logits_processor=tf.LogitsProcessorList([choose])
            )[:, length:].tolist()
        read = inputs["attention_mask"].sum(1).tolist()
        return [self._reply(tokens, number) for tokens, number in zip(generated, read, strict=True)]

    def _reply(self, tokens: list[int], read: int) -> ChatReply:
        end = next((place for place, token in enumerate(tokens) if token in self.ends), None)
        own = tokens if end is None else tokens[:end]
        text = b"".join(self.tokens.texts.get(token, b"") for token in own).decode(errors="replace").strip()
        return ChatReply(text, cut=end is None, tokens_in=int(read), tokens_out=len(own) + (end is not None))

    def yes_probabilities(self, queries: Sequence[ChatQuery]) -> list[ChatReply]:
        """Return replies to queries about one image with the probability of yes against no."""
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
        """Return the logits of the next token after each query about one image: (n, V).

        The common prefix of the queries, the image included, is encoded once. Whether a model supports that is tested
        with the first two queries: some number their positions in ways of their own.
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
        shortest = min(map(len, tokens)) - 1  # each keeps at least one token
        common = next((i for i in range(shortest) if len({own[i] for own in tokens}) > 1), shortest)
        # Cut the tensors of tokens; those of images stay whole.
        whole = len(tokens[0])
        begun = {
            name: value[:, :common] if value.dim() == 2 and value.shape[1] == whole and name not in PICTURES else value
            for name, value in rows[0].items()
        }
        past = self.model(**begun, use_cache=True).past_key_values
        ends = [own[common:] for own in tokens]
        size = BATCH.get(self.device, 16)  # the cache is copied for each query of a batch
        return torch.cat([self._after(past, ends[start : start + size]) for start in range(0, len(ends), size)])

    def _after(self, past: Any, ends: Sequence[Sequence[int]]) -> torch.Tensor:  # noqa: ANN401
        """Return the logits of the next token after each of `ends`, which continue `past`: (n, V)."""
        import torch

        past = copy.deepcopy(past)
        past.batch_repeat_interleave(len(ends))
        longest = max(map(len, ends))
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[*own, *[pad] * (longest - len(own))] for own in ends], device=self.model.device)
        # No mask: the padding on the right comes after every token whose logits are used.
        logits = self.model(input_ids=ids, past_key_values=past, use_cache=True).logits
        return torch.stack([logits[row, len(own) - 1] for row, own in enumerate(ends)])

    def _logits(self, inputs: Any) -> torch.Tensor:  # noqa: ANN401
        return self.model(**inputs, logits_to_keep=1).logits[:, -1]

    def _forms(self, word: str) -> list[int]:
        found = [token for token, text in self.tokens.texts.items() if text.strip(b" \n").lower() == word.encode()]
        if not found:
            raise ModelError(f"label.language.model: expected a tokenizer with {word!r} as one token; use vlm_direct")
        return found
