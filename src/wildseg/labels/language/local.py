"""A language model on this machine, by transformers: any image-text-to-text model, or any causal language model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from wildseg.core.errors import ModelError
from wildseg.encoders.downloads import hub_folder
from wildseg.labels.language.chat_network import BATCH, ChatNetwork
from wildseg.labels.language.grammar import Grammar
from wildseg.labels.language.messages import ChatQuery, ChatReply, RecordCache
from wildseg.labels.language.model_digest import digest


class LocalModel:
    """A model in a folder or on the model hub; loaded at the first query."""

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
        """Store the parameters.

        Args:
            model: a folder below `root`, or a name on the model hub.
            root: the project folder.
            device: resolves the torch device.
            constrained: constrain replies to JSON of class names.
            digests: caches those of large files.
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
        """Frames of a few batches."""
        return 32

    def complete(self, queries: Sequence[ChatQuery]) -> Iterator[tuple[int, ChatReply]]:
        """Yield (index of a query, its reply), a batch at a time.

        Raises:
            ModelError: there is no such model, it cannot be loaded, or it has no vision.
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
        """Generate the replies of a batch, in halves where the GPU runs out of memory."""
        import torch

        grammars = [self._grammar(query) for query in queries]
        try:
            return self._loaded.generate(queries, grammars, limit)
        except torch.OutOfMemoryError as error:
            if len(queries) == 1:
                raise ModelError(
                    f"label.language.model: {self.model!r} runs out of GPU memory with one image; lower "
                    "label.language.max_side or max_tokens, or choose a smaller model"
                ) from error
        half = len(queries) // 2  # outside of the handler, whose traceback holds the tensors
        return self._generate(queries[:half], limit) + self._generate(queries[half:], limit)

    def _limit(self, query: ChatQuery) -> int:
        # A constrained reply is at most as long as the list of all classes, so that it is never cut.
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
        name = self.model if self.folder is None else str(self.folder)
        folder = str(model_folder(self.model)) if self.folder is None else name
        return ChatNetwork(name, folder, self._device(), local=self.folder is not None)


def model_folder(model: str, root: Path = Path()) -> Path:
    """Return the folder of a model: below `root`, or in the hub's cache, downloaded if needed.

    Raises:
        ModelError: it cannot be downloaded.
    """
    if (root / model).is_dir():
        return root / model
    what = f"label.language.model: {model!r} is no folder here, and"
    return hub_folder(what, model, "give a folder as label.language.model")
