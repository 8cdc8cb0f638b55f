"""Bytes to an open container of sound or film: in memory, by a named reader, by list.

FFmpeg will open other files and addresses if a file tells it to. Here it may not: the
reader is chosen from the first bytes, formats and codecs are allow-lists, no protocol at
all is allowed, and its log is off.
"""

from collections.abc import Generator
from contextlib import contextmanager
from io import BytesIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from pandagpt.errors import InvalidMedia
from pandagpt.media.mp4 import check_num_samples
from pandagpt.media.sniff import MP4, Kind

SOUND_CODECS = (
    "aac,alac,flac,mp3,mp3float,opus,libopus,vorbis,pcm_alaw,pcm_mulaw,pcm_f32be,pcm_f32le,"
    "pcm_f64be,pcm_f64le,pcm_s8,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be,pcm_s32le,pcm_u8"
)
FILM_CODECS = (
    "av1,libdav1d,gif,h264,hevc,mjpeg,mpeg1video,mpeg2video,mpeg4,theora,vp8,vp9,libvpx,libvpx-vp9"
)
_FORMATS = "aac,aiff,avi,flac,gif,matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,mp3,mpeg,mpegts,ogg,wav"
_MAX_STREAMS = 16
# What PyAV raises on broken bytes; FFmpegError is no OSError in every case.
_DECODER_ERRORS = (av.FFmpegError, ArithmeticError, EOFError, LookupError, MemoryError, OSError)
# A file that lasts less than this part of what its header says was cut.
_WHOLE = 0.9

av.logging.set_level(None)


@contextmanager
def open_container(
    data: bytes, kind: Kind, codecs: str, max_pixels: int
) -> Generator[InputContainer]:
    """Closes it at the end. Whatever the library raises inside becomes one InvalidMedia."""
    if kind is MP4:
        check_num_samples(data)
    options = {
        "format_whitelist": _FORMATS,
        "protocol_whitelist": "",
        "codec_whitelist": codecs,
        "max_streams": str(_MAX_STREAMS),
        "max_pixels": str(max_pixels),
    }
    try:
        with av.open(
            BytesIO(data), mode="r", format=kind.container, container_options=options
        ) as container:
            yield container
    except (*_DECODER_ERRORS, ValueError):
        raise InvalidMedia(
            f"{_capital(kind.name)} was found, but it cannot be decoded: it is broken, cut short "
            "or of an unusual codec. Send WAV, MP3, FLAC, Ogg or M4A; MP4 (H.264) or WebM."
        ) from None


def film_stream(container: InputContainer) -> VideoStream | None:
    """The first track of moving pictures; the cover of a song is none."""
    films = (s for s in container.streams.video if not s.disposition & Disposition.attached_pic)
    return next(films, None)


def check_codec(stream: AudioStream | VideoStream, codecs: str, kind: Kind) -> None:
    """Run before anything is asked of the codec: an unknown one has no context at all."""
    context = stream.codec_context
    if context is None or context.name not in codecs.split(","):
        raise InvalidMedia(
            f"{_capital(kind.name)} of an unusual codec was found. Readable codecs: {codecs}."
        )


def check_whole(container: InputContainer, kind: Kind, end_seconds: float) -> None:
    """Refuses what ends long before its header says it does."""
    stated = (container.duration or 0) / av.time_base
    if kind.states_duration and end_seconds < _WHOLE * stated:
        raise InvalidMedia(
            f"{_capital(kind.name)} was found that is cut short: {end_seconds:.1f} s "
            f"of {stated:.1f} s are there. Send the whole file."
        )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
