"""Encodings of image messages: pixels that are known beforehand, also from OpenCV's and Pillow's own conversions."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("rosbags")
pytest.importorskip("mcap")

from tests.frames.bags.recordings import START_NS, compressed, raw, serialized
from tests.frames.clips import numbered
from wildseg.frames.bags.message import COMPRESSED, RAW, StoredMessage, kind_of, parse
from wildseg.frames.bags.picture import picture_of
from wildseg.frames.read_stats import DecodeError

COLOUR = (200, 40, 100)


def seen(message: object) -> np.ndarray:
    kind = RAW if hasattr(message, "height") else COMPRESSED
    return picture_of(parse(StoredMessage(0, kind, "cdr", serialized(message))))


def random(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def test_colours_are_in_the_order_that_the_encoding_names() -> None:
    image = random(6, 10, 3)
    alpha = np.full((6, 10, 1), 255, np.uint8)
    backwards = np.ascontiguousarray(image[..., ::-1])
    for pixels, encoding in (
        (image, "rgb8"), (backwards, "bgr8"), (backwards, "8UC3"),
        (np.concatenate([image, alpha], 2), "rgba8"), (np.concatenate([backwards, alpha], 2), "bgra8"),
    ):  # fmt: skip
        assert np.array_equal(seen(raw(pixels, encoding)), image), encoding
    grey = random(6, 10)
    for encoding in ("mono8", "8UC1"):
        assert np.array_equal(seen(raw(grey, encoding)), np.stack([grey] * 3, 2))


def test_what_is_transparent_is_black() -> None:
    pixels = np.concatenate([np.full((4, 4, 3), 200, np.uint8), np.zeros((4, 4, 1), np.uint8)], 2)
    assert not seen(raw(pixels, "rgba8")).any()


@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_sixteen_bits_become_eight_in_either_byte_order(order: str) -> None:
    wide = random(4, 6, 3, dtype=np.uint16)
    expected = np.floor(wide / 257 + 0.5).astype(np.uint8)
    assert np.array_equal(seen(raw(wide.astype(order), "rgb16", big=order == ">u2")), expected)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_a_mosaic_of_one_colour_becomes_that_colour(pattern: str) -> None:
    cell = np.array([COLOUR["rgb".index(letter)] for letter in pattern], np.uint8).reshape(2, 2)
    for message in (
        raw(np.tile(cell, (8, 8)), f"bayer_{pattern}8"),
        raw(np.tile(cell, (8, 8)).astype(np.uint16) * 257, f"bayer_{pattern}16"),
        compressed(np.tile(cell, (8, 8)), f"bayer_{pattern}8; png compressed "),
    ):
        assert (seen(message)[2:-2, 2:-2] == COLOUR).all(), message


def test_a_mosaic_that_was_converted_before_it_was_compressed_is_not_converted_again() -> None:
    image = numbered(5)
    assert np.array_equal(seen(compressed(image, "bayer_rggb8; png compressed bgr8")), image)


def test_packed_yuv_is_that_of_opencv() -> None:
    image = np.tile(np.array(COLOUR, np.uint8), (8, 12, 1))
    y, u, v = cv2.cvtColor(image, cv2.COLOR_RGB2YUV)[0, 0].tolist()
    assert y  # studio swing, computed by hand from BT.601
    luma = round(16 + (65.481 * COLOUR[0] + 128.553 * COLOUR[1] + 24.966 * COLOUR[2]) / 255)
    blue = round(128 + (-37.797 * COLOUR[0] - 74.203 * COLOUR[1] + 112 * COLOUR[2]) / 255)
    red = round(128 + (112 * COLOUR[0] - 93.786 * COLOUR[1] - 18.214 * COLOUR[2]) / 255)
    uyvy = np.tile(np.array([blue, luma, red, luma], np.uint8), (8, 6)).reshape(8, 12, 2)
    yuyv = np.tile(np.array([luma, blue, luma, red], np.uint8), (8, 6)).reshape(8, 12, 2)
    for encoding, pixels in (("yuv422", uyvy), ("uyvy", uyvy), ("yuv422_yuy2", yuyv), ("yuyv", yuyv)):
        assert np.abs(seen(raw(pixels, encoding)).astype(int) - COLOUR).max() <= 2, encoding


def test_rows_may_be_padded() -> None:
    image = random(5, 7, 3)
    assert np.array_equal(seen(raw(image, padding=11)), image)


def test_a_jpeg_is_that_of_pillow() -> None:
    message = compressed(numbered(3), "jpeg", quality=90)
    import io

    assert np.array_equal(seen(message), np.asarray(Image.open(io.BytesIO(message.data.tobytes()))))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (raw(random(4, 4), "32FC1"), "32FC1"),
        (raw(random(4, 4), "16UC1"), "16UC1"),
        (compressed(numbered(1), "16UC1; compressedDepth png"), "depths"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_encoding(message: object, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        seen(message)


def test_a_size_that_no_picture_has_is_refused_before_memory_is_taken() -> None:
    message = raw(random(4, 4, 3))
    object.__setattr__(message, "height", 2**31)
    object.__setattr__(message, "width", 2**31)
    with pytest.raises(DecodeError, match="claims"):
        seen(message)


def test_a_picture_of_no_pixels_is_damaged() -> None:
    message = raw(random(4, 4, 3))
    for name, value in (("height", 0), ("width", 0), ("step", 0)):
        damaged = raw(random(4, 4, 3))
        object.__setattr__(damaged, name, value)
        with pytest.raises(DecodeError):
            seen(damaged)
    assert seen(message).shape == (4, 4, 3)


@pytest.mark.parametrize("kept", [0, 3, 4, 10, 40, 60])
def test_a_message_that_is_cut_off_is_damaged(kept: int) -> None:
    for message, kind in ((raw(random(8, 8, 3)), RAW), (compressed(random(8, 8, 3), "jpeg"), COMPRESSED)):
        with pytest.raises(DecodeError):
            parse(StoredMessage(0, kind, "cdr", serialized(message)[:kept]))


def test_a_jpeg_that_is_cut_off_is_damaged() -> None:
    message = compressed(random(64, 64, 3), "jpeg")
    object.__setattr__(message, "data", message.data[:-300])
    with pytest.raises(DecodeError):
        seen(message)


def test_big_endian_messages_are_read_by_their_alignment() -> None:
    # By hand: frame "ab" of 3 bytes with its zero, one byte of padding, then 1 row of 2 pixels.
    text = struct.pack(">I", 6) + b"mono8\0"
    body = struct.pack(">IIIcccx", 5, 250_000_000, 3, b"a", b"b", b"\0") + struct.pack(">II", 1, 2) + text
    body += b"\0" + b"\0" + struct.pack(">II", 2, 2) + bytes([10, 20])
    found = parse(StoredMessage(0, RAW, "cdr", b"\0\0\0\0" + body))
    assert (found.stamp_ns, found.height, found.width, found.encoding) == (5_250_000_000, 1, 2, "mono8")
    assert picture_of(found)[0, :, 0].tolist() == [10, 20]


def test_types_of_both_versions_of_ros_are_known() -> None:
    assert kind_of("sensor_msgs/msg/Image", "cdr") == kind_of("sensor_msgs/Image", "ros1") == RAW
    assert kind_of("sensor_msgs/msg/CompressedImage", "cdr") == COMPRESSED
    assert kind_of("foxglove.CompressedImage", "protobuf") == kind_of("sensor_msgs/msg/PointCloud2", "cdr") == ""
    assert kind_of("sensor_msgs/msg/Image", "json") == ""
    assert raw(random(2, 2, 3), stamp_ns=START_NS).header.stamp.sec == 1_700_000_000
