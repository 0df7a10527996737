"""Messages of images as they are stored: ROS 2's CDR and ROS 1's serialization of two types of `sensor_msgs`."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from wildseg.frames.read_stats import DecodeError

RAW, COMPRESSED = "Image", "CompressedImage"
SERIALIZATIONS = ("cdr", "ros1")

# Representation identifiers of the encapsulation (DDSI-RTPS 2.5, table 10.3): plain CDR and plain CDR 2, whose layouts
# are the same where nothing is longer than 4 bytes. Odd ones are little-endian.
PLAIN_CDR = (0x0000, 0x0001, 0x0006, 0x0007)


class Topic(NamedTuple):
    """A topic of a recording; `kind` is RAW, COMPRESSED or empty for a type that is no image.

    `count` is its number of messages as an index has it, None where there is no index. `first_ns` and `last_ns` are log
    times, of the whole file where only that is indexed.
    """

    name: str
    type_name: str
    kind: str
    count: int | None = None  # type: ignore[assignment] # hides a method of tuples
    first_ns: int = 0
    last_ns: int = 0


class StoredMessage(NamedTuple):
    """A message: log time in nanoseconds since 1970, RAW or COMPRESSED, and the bytes in their serialization."""

    log_ns: int
    kind: str
    serialization: str
    content: bytes


class Loss(NamedTuple):
    """Messages of a recording that cannot be read; `count` is exact where an index is left, else at least 1."""

    count: int  # type: ignore[assignment] # as above
    reason: str


@dataclass(frozen=True)
class ImageMessage:
    """An image of a camera: `sensor_msgs/Image`, or `sensor_msgs/CompressedImage` with height, width and step of 0.

    kind: RAW or COMPRESSED. stamp_ns: time of acquisition in the header, in nanoseconds; 0 where the camera set none.
    encoding: of the pixels, or the format of the compressed file. step: bytes of a row.
    """

    kind: str
    stamp_ns: int
    encoding: str
    height: int
    width: int
    step: int
    big_endian: bool
    content: memoryview


def kind_of(type_name: str, serialization: str) -> str:
    """Return RAW or COMPRESSED for a type of `sensor_msgs`, in ROS 1's or ROS 2's spelling; '' for any other."""
    package, _, name = type_name.replace("/msg/", "/").partition("/")
    return name if package == "sensor_msgs" and name in (RAW, COMPRESSED) and serialization in SERIALIZATIONS else ""


def parse(message: StoredMessage) -> ImageMessage:
    """Return the image that a stored message holds; its pixels are not decoded.

    Raises:
        DecodeError: it is cut off, or not of its type.
    """
    fields = _Fields(message.content, message.serialization)
    try:
        seconds, nanoseconds = fields.uint32(), fields.uint32()
        stamp_ns = seconds * 1_000_000_000 + nanoseconds
        fields.text()  # the frame of reference
        if message.kind == COMPRESSED:
            encoding = fields.text()
            return ImageMessage(COMPRESSED, stamp_ns, encoding, 0, 0, 0, False, fields.octets())
        height, width, encoding = fields.uint32(), fields.uint32(), fields.text()
        big_endian, step = bool(fields.uint8()), fields.uint32()
        return ImageMessage(RAW, stamp_ns, encoding, height, width, step, big_endian, fields.octets())
    except struct.error as error:
        raise DecodeError("the message is cut off") from error


class _Fields:
    """Reads fields one after the other: CDR aligns numbers to their size, ROS 1 does not and is little-endian."""

    def __init__(self, content: bytes, serialization: str) -> None:
        self._content = memoryview(content)
        self._aligned = serialization == "cdr"
        self._order = "<"
        self._place = 0
        if self._aligned:
            identifier = int.from_bytes(self._content[:2], "big")
            if len(content) < 4 or identifier not in PLAIN_CDR:
                raise DecodeError("the message is not serialized as CDR")
            self._order = "<" if identifier % 2 else ">"
            self._content = self._content[4:]  # what alignment is counted from
        else:
            self.uint32()  # ROS 1 counts headers

    def uint8(self) -> int:
        (value,) = struct.unpack_from("B", self._content, self._place)
        self._place += 1
        return value

    def uint32(self) -> int:
        if self._aligned:
            self._place += -self._place % 4
        (value,) = struct.unpack_from(f"{self._order}I", self._content, self._place)
        self._place += 4
        return value

    def octets(self) -> memoryview:
        length = self.uint32()
        found = self._content[self._place : self._place + length]
        if len(found) < length:
            raise DecodeError(f"the message is cut off: {len(found)} of {length} bytes")
        self._place += length
        return found

    def text(self) -> str:
        return bytes(self.octets()).decode("utf-8", "replace").rstrip("\0")  # CDR counts the zero at its end
