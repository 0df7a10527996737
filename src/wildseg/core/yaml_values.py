"""Values as ruamel.yaml shall write them: as DVC would, and so that YAML 1.1 and 1.2 read the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from io import StringIO
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, PlainScalarString

# Texts that YAML 1.2 reads as texts without quotes, and YAML 1.1 as something else.
DOUBTFUL = re.compile(r"(?:yes|no|on|off|[-+]?\d[\d_]*(?::\d+)+(?:\.\d*)?)\Z", re.IGNORECASE)


def written(value: Any, *, block: bool = False) -> Any:  # noqa: ANN401
    """Return a plain value as ruamel.yaml shall write it: mappings in braces, but for a section at the top.

    Lists outside of braces are lines, since DVC makes them so at the first `-S`, unless they have empty items.
    """
    if isinstance(value, Mapping):
        section = CommentedMap({written(name): written(item, block=False) for name, item in value.items()})
        if not block:
            section.fa.set_flow_style()
        return section
    if isinstance(value, (list, tuple)):
        items = CommentedSeq(map(written, value))
        if any(item in (None, [], {}) for item in value):  # beside a comment ruamel.yaml writes these as other lists
            items.fa.set_flow_style()
        return items
    if isinstance(value, str):
        return PlainScalarString(value) if _is_plain(value) else DoubleQuotedScalarString(value)
    return value


def _is_plain(value: str) -> bool:
    """Return whether a text can be left to ruamel.yaml, which quotes what it must but for some such as ``[0?, :0]``."""
    if DOUBTFUL.match(value):
        return False
    items, out = CommentedSeq([PlainScalarString(value)]), StringIO()
    items.fa.set_flow_style()
    YAML().dump(items, out)
    with suppress(YAMLError):
        return YAML(typ="safe").load(out.getvalue()) == [value]
    return False
