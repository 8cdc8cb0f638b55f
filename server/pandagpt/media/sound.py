"""Bytes of a sound, or of a film's sound track, to float32 samples of all channels.

Bounds are checked from the header, and again on what comes out of the decoder: a small
file can claim, and really hold, a thousand times its size.
"""

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.packet import Packet

from pandagpt.errors import InvalidMedia, MediaTooLarge
from pandagpt.media.container import SOUND_CODECS, check_codec, check_whole, open_container
from pandagpt.media.limits import MediaLimits
from pandagpt.media.sniff import AAC, MP3, WAV, Kind, expect

RATE_RANGE_HZ = (1_000, 384_000)
# Sample formats: what is subtracted, then divided by, to come to -1..1.
_SCALES = {"u8": (128, 128), "s16": (0, 2**15), "s32": (0, 2**31), "flt": (0, 1), "dbl": (0, 1)}


def decode_sound(data: bytes, limits: MediaLimits) -> tuple[np.ndarray, int]:
    """-> float32 [channels, n] in -1..1, rate in Hz. Raises InvalidMedia, MediaTooLarge."""
    kind = expect(data, ("sound", "film"), "a sound")
    with open_container(data, kind, SOUND_CODECS, limits.max_video_frame_pixels) as container:
        track = _Track(container, kind, limits)
        for packet in container.demux(track.stream):
            if packet.is_corrupt and not (kind is WAV and _has_open_length(data)):
                raise InvalidMedia("The sound is cut short. Send the whole file.")
            track.feed(packet)
        check_whole(container, kind, track.seconds)
        return track.samples(), track.rate_hz


class _Track:
    """The samples of one stream so far, within the limits."""

    def __init__(self, container: InputContainer, kind: Kind, limits: MediaLimits) -> None:
        if not container.streams.audio:
            raise InvalidMedia(f"Expected a sound, found {kind.name} without a sound track.")
        self.stream = container.streams.audio[0]
        check_codec(self.stream, SOUND_CODECS, kind)
        context = self.stream.codec_context
        context.thread_count = 1
        self.rate_hz, self.num_channels = context.sample_rate, context.channels
        self._limits = limits
        self._kind = kind
        self._num_samples = 0
        self._num_bad = 0
        self._chunks: list[np.ndarray] = []
        self._check_header()

    @property
    def seconds(self) -> float:
        return self._num_samples / self.rate_hz

    def _check_header(self) -> None:
        low, high = RATE_RANGE_HZ
        if not low <= self.rate_hz <= high:
            raise InvalidMedia(f"The sound's rate is {self.rate_hz} Hz; {low} to {high} are read.")
        if not 1 <= self.num_channels <= self._limits.max_audio_channels:
            raise InvalidMedia(
                f"The sound has {self.num_channels} channels; 1 to "
                f"{self._limits.max_audio_channels} are read. Mix it down."
            )
        # Of an MP3 the duration is a guess from its first frames: too wild to refuse by.
        duration, unit = self.stream.duration, self.stream.time_base
        if self._kind.states_duration and duration is not None and unit is not None:
            self._check_seconds(float(duration * unit))

    def _check_seconds(self, seconds: float) -> None:
        if seconds > self._limits.max_audio_seconds:
            raise MediaTooLarge(
                f"The sound lasts over {self._limits.max_audio_seconds:g} s, the longest allowed. "
                "Cut it; the model hears three clips of 2 s."
            )

    def feed(self, packet: Packet) -> None:
        """Streams of frames (MP3, AAC) may hold padding between them, which players skip too."""
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            self._num_bad += 1
            if self._kind not in (MP3, AAC) or self._num_bad > len(self._chunks):
                raise
            return
        for frame in frames:
            self._add(frame)

    def _add(self, frame: AudioFrame) -> None:
        if (frame.sample_rate, frame.layout.nb_channels) != (self.rate_hz, self.num_channels):
            raise InvalidMedia("The sound changes its rate or channels midway. Convert it to WAV.")
        self._num_samples += frame.samples
        self._check_seconds(self.seconds)
        decoded_bytes = 4 * self._num_samples * self.num_channels
        if decoded_bytes > self._limits.max_audio_decoded_bytes:
            raise MediaTooLarge(
                f"The sound decodes to over {self._limits.max_audio_decoded_bytes >> 20} MiB, the "
                "most allowed. Send fewer channels, a lower rate or a shorter piece."
            )
        self._chunks.append(_to_float(frame))

    def samples(self) -> np.ndarray:
        if not self._num_samples:
            raise InvalidMedia("The sound is empty: it has no samples.")
        return np.concatenate(self._chunks, axis=1)


def _to_float(frame: AudioFrame) -> np.ndarray:
    name = frame.format.packed.name
    if name not in _SCALES:
        raise InvalidMedia(f"Samples of type {name[:20]} are not read. Convert the sound to WAV.")
    offset, scale = _SCALES[name]
    array = frame.to_ndarray()
    if frame.format.is_packed:
        array = array.reshape(-1, frame.layout.nb_channels).T
    if scale == 1:
        return array.astype(np.float32)
    return (array.astype(np.float32) - np.float32(offset)) / np.float32(scale)


def _has_open_length(wav: bytes) -> bool:
    """Written to a pipe, a WAV cannot know its size: both fields are then 0 or all ones."""
    body = wav.find(b"data", 12, 4096)
    unknown = (b"\0\0\0\0", b"\xff\xff\xff\xff")
    return wav[4:8] in unknown or wav[body + 4 : body + 8] in unknown
