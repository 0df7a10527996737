"""Recordings written by other programs than the one under test: rosbags, and the writer of the package mcap."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mcap.writer import CompressionType, Writer
from PIL import Image
from rosbags import rosbag2
from rosbags.typesys import Stores, get_typestore

STORE = get_typestore(Stores.ROS2_JAZZY)
ROS1 = get_typestore(Stores.ROS1_NOETIC)
Header, Time = STORE.types["std_msgs/msg/Header"], STORE.types["builtin_interfaces/msg/Time"]
RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
Message = Any  # rosbags makes its classes when it is imported
Row = tuple[int, str, Message]  # log time in nanoseconds from START_NS on, topic, message
START_NS = 1_700_000_000_000_000_000


def header(stamp_ns: int) -> Message:
    return Header(Time(*divmod(stamp_ns, 10**9)), "camera")


def raw(
    pixels: np.ndarray, encoding: str = "rgb8", stamp_ns: int = 0, *, padding: int = 0, big: bool = False
) -> Message:
    """A sensor_msgs/Image of an array, (H, W[, C]), whose rows end with `padding` bytes."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return STORE.types[RAW](
        header(stamp_ns), height, width, encoding, int(big), padded.shape[1], np.ascontiguousarray(padded).ravel()
    )


def compressed(pixels: np.ndarray, form: str, stamp_ns: int = 0, **options: object) -> Message:
    """A sensor_msgs/CompressedImage, whose file Pillow wrote."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG" if "png" in form else "JPEG", **options)
    return STORE.types[COMPRESSED](header(stamp_ns), form, np.frombuffer(file.getvalue(), np.uint8))


def serialized(message: Message) -> bytes:
    return bytes(STORE.serialize_cdr(message, message.__msgtype__))


def write_bag(folder: Path, rows: Sequence[Row], storage: str = "SQLITE3", packed: str = "NONE") -> Path:
    """Write a rosbag2 folder by rosbags; see `Row`."""
    writer = rosbag2.Writer(folder, version=9, storage_plugin=rosbag2.StoragePlugin[storage])
    writer.set_compression(rosbag2.CompressionMode[packed], rosbag2.CompressionFormat.ZSTD)
    with writer:
        topics = {
            topic: writer.add_connection(topic, message.__msgtype__, typestore=STORE)
            for topic, message in {topic: message for _, topic, message in reversed(rows)}.items()
        }
        for at, topic, message in rows:
            writer.write(topics[topic], START_NS + at, serialized(message))
    return folder


def write_mcap(
    path: Path, rows: Sequence[Row], *, compression: str = "ZSTD", chunk: int = 1, ros1: bool = False
) -> Path:
    """Write an MCAP file by the package mcap; of `chunk` = 1, each message has a chunk of its own."""
    with path.open("wb") as stream:
        writer = Writer(stream, chunk_size=chunk, compression=CompressionType[compression], use_chunking=chunk > 0)
        writer.start()
        channels: dict[str, int] = {}
        for at, topic, message in rows:
            if topic not in channels:
                name = message.__msgtype__.replace("/msg/", "/") if ros1 else message.__msgtype__
                schema = writer.register_schema(name, "ros1msg" if ros1 else "ros2msg", b"")
                channels[topic] = writer.register_channel(topic, "ros1" if ros1 else "cdr", schema)
            content = bytes(ROS1.serialize_ros1(message, message.__msgtype__)) if ros1 else serialized(message)
            writer.add_message(channels[topic], START_NS + at, content, START_NS + at)
        writer.finish()
    return path
