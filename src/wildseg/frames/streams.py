"""Which of a file's video streams is read, and by which decoder."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import av
from av.stream import Disposition

# A cover or a preview is a video stream by its form alone.
NO_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails

# FFmpeg's own decoders of these codecs leave transparency out.
WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


def main_video(container: av.container.InputContainer) -> av.VideoStream | None:
    """Return the stream to read, None where the file holds no video.

    That is the one which the container marks as default; where it marks none or several, the one with the most pixels,
    and of equals FFmpeg's choice.
    """
    videos = _videos(container)
    videos = [stream for stream in videos if stream.codec_context is not None] or videos
    default = [stream for stream in videos if stream.disposition & Disposition.default]
    if len(videos) < 2:
        return videos[0] if videos else None
    best = container.streams.best("video")
    return max(default or videos, key=lambda stream: (_pixels(stream), stream is best, -stream.index))


def unread_streams(container: av.container.InputContainer, chosen: av.VideoStream, path: Path) -> str | None:
    """Return one line on the streams of a file that holds several, and on how to read another; None else."""
    left = [stream for stream in _videos(container) if stream.index != chosen.index]
    if not left:
        return None
    copied = f"{path.stem}_{left[0].index}{path.suffix}"
    command = shlex.join(["ffmpeg", "-i", path.name, "-map", f"0:{left[0].index}", "-c", "copy", copied])
    return (
        f"of {len(left) + 1} video streams, {_name(chosen)} is read and {_names(left)} not; to read another, "
        f"give it a file of its own: {command}"
    )


def decoder_for(stream: av.VideoStream) -> av.VideoCodecContext:
    """Return what decodes the stream: its own decoder, or one that gives out the transparency that the file holds."""
    if not _has_alpha(stream) or stream.codec_context.name not in WITH_ALPHA:
        return stream.codec_context
    try:
        context = av.CodecContext.create(WITH_ALPHA[stream.codec_context.name], "r")
    except (av.FFmpegError, ValueError):  # an FFmpeg that was built without it
        return stream.codec_context
    context.thread_count, context.options = 1, stream.codec_context.options
    return context


def decode_function(
    context: av.VideoCodecContext, stream: av.VideoStream
) -> Callable[[av.Packet], list[av.VideoFrame]]:
    """Return a function from a packet of the stream to its frames; a packet without content asks for the last ones."""
    if context is stream.codec_context:
        return lambda packet: packet.decode()
    return lambda packet: context.decode(packet if packet.size else None)


def _videos(container: av.container.InputContainer) -> list[av.VideoStream]:
    return [stream for stream in container.streams.video if not stream.disposition & NO_VIDEO]


def _has_alpha(stream: av.VideoStream) -> bool:
    return any(key.upper() == "ALPHA_MODE" and value == "1" for key, value in stream.metadata.items())


def _pixels(stream: av.VideoStream) -> int:
    return stream.codec_context.width * stream.codec_context.height if stream.codec_context is not None else 0


def _names(streams: Sequence[av.VideoStream]) -> str:
    return " and ".join(_name(stream) for stream in streams) + (" are" if len(streams) > 1 else " is")


def _name(stream: av.VideoStream) -> str:
    context = stream.codec_context
    if context is None:
        return f"stream {stream.index} (unknown codec)"
    rate = f", {float(stream.average_rate):.4g} fps" if stream.average_rate else ""
    return f"stream {stream.index} ({context.width}x{context.height}, {context.codec.canonical_name}{rate})"
