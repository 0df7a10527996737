"""The words that label leaves for all that ask the model after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wildseg.artifacts.project import Artifacts, DroppedPhrase, PromptSet
from wildseg.core.errors import DataError

WORDS = PromptSet(
    ("a photo of {}.", "草地 {}"),
    ("wall", "sea"),
    (DroppedPhrase("grass", "lawn", None), DroppedPhrase("lake", "water", 0.9312)),
    0.8125,
)


def test_words_come_back_as_they_were_saved(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    for words in (WORDS, PromptSet(("{}",), ())):
        artifacts.save_prompts(words)
        assert artifacts.load_prompts() == words
    assert [path.name for path in artifacts.prompts_json.parent.iterdir()] == ["prompts.json"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"background": []}, "expected a list of texts under 'templates', found None"),
        ({"templates": [], "background": []}, r"expected templates with \{\} where the class goes, found \[\]"),
        ({"templates": ["it"], "background": []}, r"expected templates with \{\} .*found \['it'\]"),
        ({"templates": "{}", "background": []}, "expected a list of texts under 'templates', found '{}'"),
        ({"templates": ["{}"], "background": [" "]}, "expected a list of texts under 'background'"),
        ({"templates": ["{}"], "background": [7]}, "expected a list of texts under 'background'"),
        ({"templates": ["{}"], "background": [], "dropped": 7}, "expected under 'dropped' objects with phrase, means"),
        ({"templates": ["{}"], "background": [], "dropped": [{}]}, "expected under 'dropped' objects with phrase"),
        ({"templates": ["{}"], "background": [], "cut": "high"}, "expected a number or null, found 'high'"),
        ({"templates": ["{}"], "background": [], "cut": True}, "expected a number or null, found True"),
    ],
)
def test_a_file_of_something_else_is_one_line_with_the_command_that_makes_it(
    tmp_path: Path, content: dict[str, Any], told: str
) -> None:
    artifacts = Artifacts(tmp_path)
    artifacts.prompts_json.parent.mkdir(parents=True)
    artifacts.prompts_json.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"prompts\.json: {told}.*; run 'dvc repro label'$") as caught:
        artifacts.load_prompts()
    assert "\n" not in str(caught.value)
