"""Bytes of a film to single RGB frames: only the frames asked for, and what they depend on.

All packets are read first, still compressed, so that the number of frames and their times
are those of the file and not of its header. Frames are counted in the order of showing.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from fractions import Fraction

import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from pandagpt.errors import InvalidMedia, MediaTooLarge
from pandagpt.media.container import FILM_CODECS, check_codec, check_whole, film_stream
from pandagpt.media.limits import MediaLimits
from pandagpt.media.picture import MAX_ASPECT_RATIO
from pandagpt.media.sniff import AVI, Kind

# A header's frame rate within this factor of the packets' own is believed: its fraction
# (30000/1001) is exact, timestamps in whole milliseconds are not.
_RATE_FACTOR = 1.25


class Film:
    """One video track of an open container; valid only while that is open."""

    def __init__(self, container: InputContainer, kind: Kind, limits: MediaLimits) -> None:
        stream = film_stream(container)
        if stream is None:
            raise InvalidMedia(f"Expected a film, found {kind.name} without moving pictures.")
        check_codec(stream, FILM_CODECS, kind)
        self._context = stream.codec_context
        self._context.thread_count = 1  # the same bytes must give the same pixels
        self._limits = limits
        _check_size(self._context.width, self._context.height, limits)
        self._packets = _read_packets(container, kind, stream, limits)
        # AVI gives frames the times of their packets, which lie in another order.
        self._is_counted = kind is AVI or any(packet.pts is None for packet in self._packets)
        self._times = self._read_times()
        self._decoded_pixels = 0
        self.fps = self._rate(stream)
        if self.seconds > limits.max_video_seconds:
            raise MediaTooLarge(
                f"The film lasts {self.seconds:.1f} s; at most {limits.max_video_seconds:g} s are "
                "allowed. Cut it; the model sees ten frames."
            )

    @property
    def num_frames(self) -> int:
        return len(self._times)

    @property
    def seconds(self) -> float:
        return self.num_frames / self.fps

    def frames(self, indices: Sequence[int]) -> Iterator[np.ndarray]:
        """RGB bytes [height, width, 3] of each index, which must ascend."""
        position, numbered = -1, iter(())
        number, frame = -1, None
        for index in indices:
            key = self._key_before(index)
            if key > position:
                numbered = self._decode_from(key)
            while number < index and (following := next(numbered, None)):
                position, number, frame = following
            if frame is None:
                raise InvalidMedia("The film has no frame that can be decoded.")
            yield frame.to_ndarray(format="rgb24")

    def _read_times(self) -> list[int]:
        if self._is_counted:
            return list(range(len(self._packets)))
        return sorted(_time(packet) for packet in self._packets if not packet.is_discard)

    def _rate(self, stream: VideoStream) -> float:
        """Frames a second: the header's exact fraction, unless the packets tell otherwise."""
        if not self._times:
            raise InvalidMedia("The film is empty: it has no frames.")
        stated = stream.average_rate
        span = 0 if self._is_counted else self._times[-1] - self._times[0]
        if not span or not stream.time_base:
            return float(stated or Fraction(1))
        measured = Fraction(self.num_frames - 1) / (span * stream.time_base)
        is_right = stated and 1 / _RATE_FACTOR < stated / measured < _RATE_FACTOR
        return float(stated if is_right else measured)

    def _key_before(self, index: int) -> int:
        """Position of the last packet from which decoding shows frame `index` whole."""
        if self._is_counted:
            return 0
        time = self._times[index]
        packets = enumerate(self._packets)
        return max((i for i, p in packets if p.is_keyframe and _time(p) <= time), default=0)

    def _decode_from(self, start: int) -> Iterator[tuple[int, int, VideoFrame]]:
        """(packets used, number in the order of showing, frame), from packet `start` on."""
        self._context.flush_buffers()
        num_shown = 0
        for position, packet in enumerate([*self._packets[start:], None], start):
            for frame in self._context.decode(packet):
                self._count_pixels(frame)
                number = num_shown if self._is_counted else bisect_left(self._times, frame.pts or 0)
                num_shown += 1
                yield position, number, frame

    def _count_pixels(self, frame: VideoFrame) -> None:
        _check_size(frame.width, frame.height, self._limits)
        self._decoded_pixels += frame.width * frame.height
        if self._decoded_pixels > self._limits.max_video_decoded_pixels:
            raise MediaTooLarge(
                "The film takes too long to decode: its key frames are too far apart for its size. "
                "Scale it down (the model sees 224 x 224) or cut it."
            )


def _read_packets(
    container: InputContainer, kind: Kind, stream: VideoStream, limits: MediaLimits
) -> list[Packet]:
    """The film's packets in the order of decoding; the other tracks' ends are looked at too."""
    packets: list[Packet] = []
    end_seconds = 0.0
    for packet in container.demux():
        if packet.is_corrupt and kind.states_duration:
            raise InvalidMedia("The film is cut short. Send the whole file.")
        end_seconds = max(end_seconds, _end_seconds(packet))
        if packet.size and packet.stream_index == stream.index:
            packets.append(packet)
        if len(packets) > limits.max_video_frames:
            raise MediaTooLarge(
                f"The film has over {limits.max_video_frames} frames, the most allowed. Cut it."
            )
    check_whole(container, kind, end_seconds)
    return packets


def _time(packet: Packet) -> int:
    return packet.pts or 0


def _end_seconds(packet: Packet) -> float:
    time = packet.dts if packet.pts is None else packet.pts
    if time is None or packet.time_base is None:
        return 0.0
    return float((time + (packet.duration or 0)) * packet.time_base)


def _check_size(width: int, height: int, limits: MediaLimits) -> None:
    if width < 1 or height < 1:
        raise InvalidMedia("The film states no size of its frames.")
    if width * height > limits.max_video_frame_pixels:
        raise MediaTooLarge(
            f"The film's frames are {width} x {height} pixels; at most "
            f"{limits.max_video_frame_pixels} are allowed. Scale it down."
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise InvalidMedia(
            f"The film's frames are {width} x {height} pixels; the longer side may be at most "
            f"{MAX_ASPECT_RATIO} times the shorter one."
        )
