"""XML without document types: no entity is expanded, and no file is read by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from wildseg.core.errors import DataError
from wildseg.exchange import xml

LAUGHS = b'<!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;">]><a>&c;</a>'


def test_elements_attributes_and_letters_are_read() -> None:
    root = xml.parse(Path("a.xml"), '<a b="straße#1"><c>&lt;x&gt;</c></a>'.encode())
    assert (root.tag, root.get("b"), root.findtext("c")) == ("a", "straße#1", "<x>")


@pytest.mark.parametrize(
    "content",
    [
        LAUGHS,
        LAUGHS.decode().encode("utf-16"),
        b'<?xml version="1.0"?><!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
        b"<!DOCTYPE a><a/>",
    ],
)
def test_a_document_type_is_refused_in_any_encoding(content: bytes) -> None:
    with pytest.raises(DataError, match=r"a.xml: expected XML \(it declares a document type"):
        xml.parse(Path("a.xml"), content)


@pytest.mark.parametrize("content", [b"", b"<a>", b"<a>&nope;</a>", b"\x00\x01", b"<a/><b/>", b"<?xml encoding='x'?>"])
def test_what_is_no_xml_is_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(DataError, match="a.xml: expected XML") as caught:
        xml.parse(Path("a.xml"), content)
    assert "\n" not in str(caught.value)


def test_deep_documents_are_refused() -> None:
    with pytest.raises(DataError, match="more than 100 elements lie within each other"):
        xml.parse(Path("a.xml"), b"<a>" * 5000 + b"</a>" * 5000)
