"""Decoding a video packet by packet: each frame that comes out, with what FFmpeg found wrong with it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av

from wildseg.frames.ffmpeg_log import ErrorsSaid, Said
from wildseg.frames.gaps import ANOTHER_S, Timeline
from wildseg.frames.streams import decode_by
from wildseg.frames.tally import Tally, of_the_system, reason_of

# Errors that FFmpeg reports of sound pictures as well. Some encoders write such side information, and headers that are
# damaged themselves make the pictures fail which they describe.
HARMLESS = re.compile(
    r"\bSEI\b|\bVUI\b|[Mm]etadata|APP fields|\bapp: invalid|\bCOM\b"  # what describes the video, and no pixel
    r"|[Oo]verread [SPV]PS|[SPV]PS (id|\d+)|[spv]ps_id"  # headers, of which files hold some that no picture uses
    r"|mmco: unref short failure|number of reference frames"  # references that nobody asks for any more
    r"|AC EOB marker is absent"  # DV, whose cameras fill blocks to the last bit
    r"|low_delay flag|ext header|pic cod ext"  # flags that old encoders set wrong
    r"|^at [\d.]+ seconds"  # FFV1: the second half of a message
)
FOLLOWING = 3  # packets: FFmpeg tells of a transport packet that is missing up to two packets early
MESSAGE_LENGTH = 80  # characters of FFmpeg's message in quarantine.csv


class Passed:
    """What was found while a packet was decoded; it travels with the packet to the frame that comes of it.

    `error` tells of a damaged picture, `shown` says that its frame came, and `ratio` is the width of its pixels by
    their height as the coded stream says it, None where it does not.
    """

    def __init__(self) -> None:
        """Start with nothing said."""
        self.error: str | None = None
        self.shown = False
        self.ratio: Fraction | None = None

    def said(self, messages: list[Said]) -> None:
        """Keep the first message that tells of a damaged picture."""
        for message in messages:
            if self.error is None and not HARMLESS.search(message.text):
                self.error = f"{message.by}: {message.text}"[:MESSAGE_LENGTH]


class Decoding:
    """The frames of a video stream in order, and what became of its packets."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        context: av.VideoCodecContext,
        item: str,
        tally: Tally,
    ) -> None:
        """Prepare to decode `stream` by the decoder `context`; losses of the file `item` are noted in `tally`."""
        self.container = container
        self.stream = stream
        self._context = context
        self._decode_packet = decode_by(context, stream)
        self._item = item
        self._tally = tally
        self._count = 0
        self._wrong: list[Passed] = []
        self._unread: str | None = None
        self.timeline = Timeline()
        self.packets = 0
        context.copy_opaque = True

    def frames(self) -> Iterator[tuple[av.VideoFrame, str | None]]:
        """Yield each frame and the reason why it is not as it was recorded, None for a sound one.

        A frame must be let go of, or copied, before the next is asked for: see `wildseg.frames.own_copy`.
        """
        # Packet by packet rather than container.decode(), whose generator ends at the first broken one.
        for packet, following in _with_following(self._packets()):
            passed = Passed()
            if packet.size:
                packet.opaque = passed
                if packet.is_corrupt and not _joined(packet, following):
                    passed.error = "the container has only a part of it"
                    self.timeline.broken.append(len(self.timeline) - len(following))
            frames = self._decode(packet, passed)
            passed.ratio = self._context.sample_aspect_ratio
            if passed.error:
                self._wrong.append(passed)
            self._count += len(frames)
            for frame in frames:
                yield frame, self._judge(frame, passed)
        self._note_never_shown()
        if self._unread:
            reason = f"after {self._count} frames the file cannot be read on ({self._unread})"
            self._tally.lost_frames(self._item, reason, 1, passing=True)

    def ratio_of(self, frame: av.VideoFrame) -> Fraction | None:
        """Return the width of a frame's pixels by their height by the coded stream, None where it does not say.

        The decoder itself says that of the packet which it took last, and it may give out frames some packets later.
        """
        return frame.opaque.ratio if isinstance(frame.opaque, Passed) else self._context.sample_aspect_ratio

    def _packets(self) -> Iterator[av.Packet]:
        packets = self.container.demux(self.stream)
        base = float(self.stream.time_base or 0)
        container = self.container.format.name
        while True:
            try:
                with ErrorsSaid() as said:
                    packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._unread = reason_of(error)
                return
            finally:
                if said.of(container):
                    self.timeline.broken.append(len(self.timeline))
            if packet.size:
                self.packets += 1
                pts, dts = (None if time is None else time * base for time in (packet.pts, packet.dts))
                self.timeline.add(pts, dts, (packet.duration or 0) * base)
            yield packet

    def _decode(self, packet: av.Packet, passed: Passed) -> list[av.VideoFrame]:
        with ErrorsSaid() as said:
            try:
                frames = self._decode_packet(packet)
            except av.FFmpegError as error:
                reason = f"after {self._count} frames a packet cannot be decoded ({reason_of(error)})"
                self._tally.lost_frames(self._item, reason, 1, passing=of_the_system(error))
                passed.shown = True  # as far as it ever will be: it is noted
                return []
        passed.said(said.errors)
        return frames

    def _judge(self, frame: av.VideoFrame, passed: Passed) -> str | None:
        # A decoder gives out frames in the order in which they are shown, some of them packets later.
        own = frame.opaque if isinstance(frame.opaque, Passed) else passed
        own.shown = True
        if own.error:
            return f"the decoder found the frame damaged ({own.error})"
        return "the decoder found the frame damaged" if frame.is_corrupt else None

    def _note_never_shown(self) -> None:
        silent = [passed for passed in self._wrong if not passed.shown]
        if silent:
            reason = f"{len(silent)} packets gave no frame, the first for this reason: {silent[0].error}"
            self._tally.lost_frames(self._item, reason, len(silent))


def _with_following(packets: Iterator[av.Packet]) -> Iterator[tuple[av.Packet, Sequence[av.Packet]]]:
    """Yield each packet with the few that follow it."""
    waiting: deque[av.Packet] = deque()
    for packet in packets:
        waiting.append(packet)
        if len(waiting) > FOLLOWING:
            yield waiting.popleft(), waiting
    while waiting:
        yield waiting.popleft(), waiting


def _joined(packet: av.Packet, following: Sequence[av.Packet]) -> bool:
    """Say whether another recording starts behind this packet, so that its transport packets count anew."""
    most = ANOTHER_S / (packet.time_base or 1)
    return packet.dts is not None and any(
        later.dts is not None and not 0 <= later.dts - packet.dts <= most for later in following
    )
