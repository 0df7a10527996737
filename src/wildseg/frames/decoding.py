"""Decoding a video packet by packet: each frame that comes out, with what FFmpeg found wrong with it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from fractions import Fraction

import av

from wildseg.frames.ffmpeg_log import CapturedErrors, LogMessage
from wildseg.frames.gaps import NEW_RECORDING_S, Timeline
from wildseg.frames.read_stats import ReadStats, is_system_error, reason_of
from wildseg.frames.streams import decode_function

# Errors that FFmpeg reports of sound pictures as well. Some encoders write such side information, and headers that are
# damaged themselves make the pictures fail which they describe.
BENIGN_ERRORS = re.compile(
    r"\bSEI\b|\bVUI\b|[Mm]etadata|APP fields|\bapp: invalid|\bCOM\b"  # what describes the video, and no pixel
    r"|[Oo]verread [SPV]PS|[SPV]PS (id|\d+)|[spv]ps_id"  # headers, of which files hold some that no picture uses
    r"|mmco: unref short failure|number of reference frames"  # references that nobody asks for any more
    r"|AC EOB marker is absent"  # DV, whose cameras fill blocks to the last bit
    r"|low_delay flag|ext header|pic cod ext"  # flags that old encoders set wrong
    r"|^at [\d.]+ seconds"  # FFV1: the second half of a message
)
LOOKAHEAD = 3  # packets: FFmpeg tells of a transport packet that is missing up to two packets early
MESSAGE_LENGTH = 80  # characters of FFmpeg's message in quarantine.csv


class PacketState:
    """What was found while a packet was decoded; it travels with the packet to the frame that comes of it.

    `error` tells of a damaged picture, `shown` says that its frame came, and `ratio` is the width of its pixels by
    their height as the coded stream says it, None where it does not.
    """

    def __init__(self) -> None:
        """Start with nothing said."""
        self.error: str | None = None
        self.shown = False
        self.ratio: Fraction | None = None

    def record_errors(self, messages: list[LogMessage]) -> None:
        """Keep the first message that tells of a damaged picture."""
        for message in messages:
            if self.error is None and not BENIGN_ERRORS.search(message.text):
                self.error = f"{message.by}: {message.text}"[:MESSAGE_LENGTH]


class PacketDecoder:
    """The frames of a video stream in order, and what became of its packets."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        context: av.VideoCodecContext,
        item: str,
        stats: ReadStats,
    ) -> None:
        """Prepare to decode `stream` by the decoder `context`; losses of the file `item` are noted in `stats`."""
        self.container = container
        self.stream = stream
        self._context = context
        self._decode_packet = decode_function(context, stream)
        self._item = item
        self._stats = stats
        self._count = 0
        self._wrong: list[PacketState] = []
        self._unread: str | None = None
        self.timeline = Timeline()
        self.packets = 0
        context.copy_opaque = True

    def frames(self) -> Iterator[tuple[av.VideoFrame, str | None]]:
        """Yield each frame and the reason why it is not as it was recorded, None for a sound one.

        A frame must be let go of, or copied, before the next is asked for: see `wildseg.frames.frame_copy`.
        """
        # Packet by packet rather than container.decode(), whose generator ends at the first broken one.
        for packet, following in _with_following(self._packets()):
            state = PacketState()
            if packet.size:
                packet.opaque = state
                if packet.is_corrupt and not _joined(packet, following):
                    state.error = "the container has only a part of it"
                    self.timeline.broken.append(len(self.timeline) - len(following))
            frames = self._decode(packet, state)
            state.ratio = self._context.sample_aspect_ratio
            if state.error:
                self._wrong.append(state)
            self._count += len(frames)
            for frame in frames:
                yield frame, self._judge(frame, state)
        self._note_never_shown()
        if self._unread:
            reason = f"after {self._count} frames the file cannot be read on ({self._unread})"
            self._stats.add_lost_frames(self._item, reason, 1, transient=True)

    def ratio_of(self, frame: av.VideoFrame) -> Fraction | None:
        """Return the width of a frame's pixels by their height by the coded stream, None where it does not say.

        The decoder itself says that of the packet which it took last, and it may give out frames some packets later.
        """
        return frame.opaque.ratio if isinstance(frame.opaque, PacketState) else self._context.sample_aspect_ratio

    def _packets(self) -> Iterator[av.Packet]:
        packets = self.container.demux(self.stream)
        base = float(self.stream.time_base or 0)
        container = self.container.format.name
        while True:
            try:
                with CapturedErrors() as log:
                    packet = next(packets)
            except StopIteration:
                return
            except av.FFmpegError as error:
                self._unread = reason_of(error)
                return
            finally:
                if log.of(container):
                    self.timeline.broken.append(len(self.timeline))
            if packet.size:
                self.packets += 1
                pts, dts = (None if time is None else time * base for time in (packet.pts, packet.dts))
                self.timeline.add(pts, dts, (packet.duration or 0) * base)
            yield packet

    def _decode(self, packet: av.Packet, state: PacketState) -> list[av.VideoFrame]:
        with CapturedErrors() as log:
            try:
                frames = self._decode_packet(packet)
            except av.FFmpegError as error:
                reason = f"after {self._count} frames a packet cannot be decoded ({reason_of(error)})"
                self._stats.add_lost_frames(self._item, reason, 1, transient=is_system_error(error))
                state.shown = True  # as far as it ever will be: it is noted
                return []
        state.record_errors(log.errors)
        return frames

    def _judge(self, frame: av.VideoFrame, state: PacketState) -> str | None:
        # A decoder gives out frames in the order in which they are shown, some of them packets later.
        own = frame.opaque if isinstance(frame.opaque, PacketState) else state
        own.shown = True
        if own.error:
            return f"the decoder found the frame damaged ({own.error})"
        return "the decoder found the frame damaged" if frame.is_corrupt else None

    def _note_never_shown(self) -> None:
        silent = [state for state in self._wrong if not state.shown]
        if silent:
            reason = f"{len(silent)} packets gave no frame, the first for this reason: {silent[0].error}"
            self._stats.add_lost_frames(self._item, reason, len(silent))


def _with_following(packets: Iterator[av.Packet]) -> Iterator[tuple[av.Packet, Sequence[av.Packet]]]:
    """Yield each packet with the few that follow it."""
    waiting: deque[av.Packet] = deque()
    for packet in packets:
        waiting.append(packet)
        if len(waiting) > LOOKAHEAD:
            yield waiting.popleft(), waiting
    while waiting:
        yield waiting.popleft(), waiting


def _joined(packet: av.Packet, following: Sequence[av.Packet]) -> bool:
    """Say whether another recording starts behind this packet, so that its transport packets count anew."""
    most = NEW_RECORDING_S / (packet.time_base or 1)
    return packet.dts is not None and any(
        later.dts is not None and not 0 <= later.dts - packet.dts <= most for later in following
    )
