import struct
from pathlib import Path

import pytest

from tests.frames.clips import write_clip
from wildseg.frames.truncation import truncation


def box(kind: bytes, length: int, claimed: int | None = None) -> bytes:
    """An MP4 box of that length in all, which may claim another."""
    return struct.pack(">I4s", length if claimed is None else claimed, kind) + bytes(length - 8)


def riff(length: int, claimed: int | None = None) -> bytes:
    """A RIFF list of that length behind its head of 8 bytes."""
    return struct.pack("<4sI", b"RIFF", length if claimed is None else claimed) + bytes(length)


def matroska(size: bytes, length: int) -> bytes:
    """An EBML header of 3 bytes, then a Segment of that length behind its head."""
    return b"\x1a\x45\xdf\xa3\x83abc" + b"\x18\x53\x80\x67" + size + bytes(length)


TS = b"\x47" + bytes(187)
M2TS = bytes(4) + TS
FTYP = box(b"ftyp", 24)

WHOLE = {
    "boxes": FTYP + box(b"mdat", 90) + box(b"moov", 30),
    "a box of 64 bits": FTYP + struct.pack(">I4sQ", 1, b"mdat", 50) + bytes(34),
    "a box up to the end": FTYP + box(b"mdat", 90, claimed=0),
    "boxes, then padding": FTYP + box(b"mdat", 90) + bytes(5) + b"\xff" * 50,
    "lists": riff(300) + riff(200),
    "an open list": riff(300, claimed=0),
    "lists, then padding": riff(300) + bytes(64),
    "a segment": matroska(b"\x01" + (100).to_bytes(7, "big"), 100),
    "a segment of a short number": matroska(b"\xe4", 100),
    "a segment of unknown length": matroska(b"\x01" + b"\xff" * 7, 100),
    "an animation": b"GIF89a" + bytes(50) + b";",
    "packets": TS * 4,
    "packets with their times": M2TS * 4,
    "something else": b"nothing known" * 30,
    "one byte": b"G",
}

CUT = {
    "boxes": (FTYP + box(b"mdat", 50, claimed=90), "74 of 114"),
    "a box of 64 bits": (FTYP + struct.pack(">I4sQ", 1, b"mdat", 2**40) + bytes(34), f"74 of {2**40 + 24}"),
    "the first box": (FTYP[:10], "10 of 24"),
    "a list": (riff(100, claimed=300), "108 of 308"),
    "the second list": (riff(300) + riff(100, claimed=200), "416 of 516"),
    "a segment": (matroska(b"\x01" + (100).to_bytes(7, "big"), 60), "80 of 120"),
    "an animation": (b"GIF89a" + bytes(50), "the mark at its end is missing"),
    "pictures": (b"\xff\xd8\xff" + bytes(50), "the mark at its end is missing"),
    "packets": ((TS * 4)[:-100], "88 bytes into a packet of 188"),
    "packets with their times": ((M2TS * 4)[:-100], "92 bytes into a packet of 192"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_all_there_is_not_cut_off(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").write_bytes(WHOLE[name])
    assert truncation(tmp_path / "a") is None


@pytest.mark.parametrize("name", CUT)
def test_a_file_that_ends_before_it_should_says_by_how_much(tmp_path: Path, name: str) -> None:
    content, reason = CUT[name]
    (tmp_path / "a").write_bytes(content)
    found = truncation(tmp_path / "a")
    assert found is not None
    assert found.startswith("it is cut off: ")
    assert reason in found


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".avi", ".ts", ".m2ts", ".flv", ".h264"])
def test_what_ffmpeg_writes_is_not_cut_off(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"a{suffix}", 6, codec="mpeg4" if suffix == ".avi" else "libx264")
    assert truncation(path) is None
    for flags in ("faststart", "frag_keyframe+empty_moov") if suffix == ".mp4" else ():
        assert truncation(write_clip(path, 6, movflags=flags)) is None
