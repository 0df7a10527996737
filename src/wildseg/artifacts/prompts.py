"""The prompt set of the image-text model: chosen once, by the label stage, and used by all later stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wildseg.artifacts.folder import Project
from wildseg.core.errors import DataError
from wildseg.core.files import load_json, save_json
from wildseg.core.names import made_by


@dataclass(frozen=True)
class DroppedPhrase:
    """An excluded background phrase, and the class it is a synonym of; `similarity` is None for a lexical match."""

    phrase: str
    means: str
    similarity: float | None


@dataclass(frozen=True)
class PromptSet:
    """Templates, each with ``{}`` for the class; background phrases, and the excluded ones of the built-in list.

    cut: the cosine above which a phrase counts as a synonym of a class; None where none was computed.
    """

    templates: tuple[str, ...]
    background: tuple[str, ...]
    dropped: tuple[DroppedPhrase, ...] = ()
    cut: float | None = None


class PromptFiles(Project):
    """data/labels/prompts.json."""

    @property
    def prompts_json(self) -> Path:
        """The prompt set of the label stage."""
        return self.data / "labels" / "prompts.json"

    def save_prompts(self, prompts: PromptSet) -> None:
        """Write data/labels/prompts.json."""
        save_json(self.prompts_json, asdict(prompts))

    def load_prompts(self) -> PromptSet:
        """Read data/labels/prompts.json.

        Raises:
            DataError: it is missing or malformed, or has no template.
        """
        with made_by("label"):
            content = load_json(self.prompts_json)
            templates, background = (self._texts(content, key) for key in ("templates", "background"))
            if not templates or not all("{}" in template for template in templates):
                raise DataError(f"{self.prompts_json}: expected templates with {{}} where the class goes, found "
                                f"{list(templates)}")  # fmt: skip
            return PromptSet(templates, background, self._dropped(content), self._number(content.get("cut")))

    def _texts(self, content: Mapping[str, Any], key: str) -> tuple[str, ...]:
        texts = content.get(key)
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise DataError(f"{self.prompts_json}: expected a list of texts under {key!r}, found {texts!r:.80}")
        return tuple(texts)

    def _dropped(self, content: Mapping[str, Any]) -> tuple[DroppedPhrase, ...]:
        entries = content.get("dropped", [])
        try:
            return tuple(
                DroppedPhrase(str(e["phrase"]), str(e["means"]), self._number(e["similarity"])) for e in entries
            )
        except (TypeError, LookupError) as error:
            raise DataError(f"{self.prompts_json}: expected under 'dropped' objects with phrase, means and similarity, "
                            f"found {entries!r:.80}") from error  # fmt: skip

    def _number(self, value: object) -> float | None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise DataError(f"{self.prompts_json}: expected a number or null, found {value!r:.80}")
        return None if value is None else float(value)
