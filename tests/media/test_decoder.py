"""Files decoded elsewhere: the same arrays and errors, and nothing that a file does gets out."""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from mmap import mmap
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

import pandagpt
from pandagpt.errors import EngineFailure, InvalidMedia, InvalidValue, MediaTooLarge
from pandagpt.frames import Frame, send
from pandagpt.media import __main__ as child
from pandagpt.media import decoder
from pandagpt.media.decoder import DecoderPool
from pandagpt.media.job import MEMORY_BYTES, Broken, Decoded, Job, Refused, Reply, to_frame
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import load
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions
from tests.media.made import wav

LIMITS = MediaLimits()
OPTIONS = MediaOptions()
SAMPLES = sorted((Path(pandagpt.__file__).parent / "samples").glob("*.*[!y]"))
LONG_SOUND = wav(np.zeros((2, 100 * 16_000), np.float32))


@pytest.fixture(scope="module")
def decoders() -> Iterator[DecoderPool]:
    decoders = DecoderPool(LIMITS, num_decoders=1)
    yield decoders
    decoders.close()


def with_limits(**limits: float) -> DecoderPool:
    return DecoderPool(replace(LIMITS, **limits), num_decoders=1)


def said(path: Path) -> Modality | None:
    return next((m for m in (Modality.THERMAL, Modality.DEPTH) if m.value in path.name), None)


def pid(decoders: DecoderPool) -> int:
    (decoder,) = decoders._decoders
    assert decoder._process
    return decoder._process._popen.pid


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_the_same_array_as_here(decoders: DecoderPool, path: Path) -> None:
    """Of every kind: a library that opens anything late would fail."""
    data = path.read_bytes()
    modality, array = decoders.load(said(path), data, OPTIONS)
    assert np.array_equal(array, load(modality, data, OPTIONS, LIMITS))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_of_pictures(decoders: DecoderPool, tmp_path: Path, format: str) -> None:
    path = tmp_path / "picture"
    Image.new("RGB", (50, 40), "green").save(path, format)
    data = path.read_bytes()
    _, array = decoders.load(Modality.IMAGE, data, OPTIONS)
    assert np.array_equal(array, load(Modality.IMAGE, data, OPTIONS, LIMITS))


def test_the_same_errors_as_here(decoders: DecoderPool) -> None:
    with pytest.raises(InvalidMedia) as there:
        decoders.load(Modality.IMAGE, b"not a picture", OPTIONS)
    with pytest.raises(InvalidMedia) as here:
        load(Modality.IMAGE, b"not a picture", OPTIONS, LIMITS)
    assert there.value.message == here.value.message
    small = with_limits(max_media_bytes=3)
    with pytest.raises(MediaTooLarge):
        small.load(Modality.IMAGE, b"1234", OPTIONS)
    small.close()
    refused = Refused.by(InvalidValue("rate", "sample_rate"))
    assert (type(refused.error), refused.error.param) == (InvalidValue, "sample_rate")


def test_memory_is_limited() -> None:
    """Some libraries end their process where they find no memory: that too is told."""
    small = with_limits(max_decode_bytes=8 * 2**20)
    for seconds in (100, 400):
        sound = wav(np.zeros((2, seconds * 16_000), np.float32))
        with pytest.raises((MediaTooLarge, InvalidMedia)):
            small.load(Modality.AUDIO, sound, OPTIONS)
    small.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)
    small.close()


def test_time_is_limited() -> None:
    hasty = with_limits(max_decode_seconds=0.005)
    with pytest.raises(MediaTooLarge, match=r"longer than 0\.005 seconds"):
        hasty.load(Modality.AUDIO, LONG_SOUND, OPTIONS)
    hasty.close()


def test_a_lost_decoder_is_replaced(decoders: DecoderPool) -> None:
    decoders.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)
    os.kill(first := pid(decoders), signal.SIGKILL)
    time.sleep(0.05)
    decoders.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)
    assert pid(decoders) != first


def test_a_decoder_lost_at_work_fails_its_file_alone(decoders: DecoderPool) -> None:
    decoders.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)
    threading.Timer(0.02, os.killpg, (pid(decoders), signal.SIGKILL)).start()
    with pytest.raises(EngineFailure, match="decoder ended"):
        decoders.load(Modality.AUDIO, LONG_SOUND, OPTIONS)
    decoders.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)


def test_a_child_that_others_kill_is_no_fault_of_its_file(decoders: DecoderPool) -> None:
    """As a kernel short of memory does."""
    decoders.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)

    parent = psutil.Process(pid(decoders))
    killer = threading.Timer(0.03, lambda: parent.children()[0].kill())
    killer.start()
    with pytest.raises(EngineFailure, match="decoder ended"):
        decoders.load(Modality.AUDIO, LONG_SOUND, OPTIONS)
    killer.join()
    decoders.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)


def test_a_child_killed_before_its_file_costs_nothing(decoders: DecoderPool) -> None:
    decoders.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)
    time.sleep(0.05)
    (waiting,) = psutil.Process(pid(decoders)).children()
    waiting.kill()
    time.sleep(0.05)
    decoders.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)


def test_a_decoder_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "PATIENCE_SECONDS", 1.0)
    mute = with_limits(max_decode_seconds=0.1)
    mute.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)
    os.kill(pid(mute), signal.SIGSTOP)
    with pytest.raises(EngineFailure):
        mute.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)
    mute.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)
    mute.close()


def test_nothing_lives_on_after_the_end() -> None:
    decoders = with_limits()
    decoders.load(Modality.IMU, b"1,2,3,4,5,6", OPTIONS)
    number = pid(decoders)
    decoders.close()
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)


# -- a child that a file has taken over

Takeover = Callable[..., object]


def run_child(monkeypatch: pytest.MonkeyPatch, takeover: Takeover) -> Reply:
    """Of this process, with `takeover` in place of the loader."""
    monkeypatch.setattr(child, "load", takeover)
    job = Job(Modality.IMU, OPTIONS, replace(LIMITS, max_decode_seconds=0.1))
    one = child.Child(mmap(-1, MEMORY_BYTES))
    try:
        return one.run(to_frame(job, b"data"), job.limits)
    finally:
        one.end()


def test_it_may_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = np.zeros((6, 2000), np.float32)
    assert run_child(monkeypatch, lambda *_: zeros) == Decoded(Modality.IMU)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda *_: os.open(os.devnull, os.O_RDONLY),
        lambda *_: socket.socket(),
        lambda *_: os.pipe(),
        lambda *_: os.memfd_create("x"),
    ],
)
def test_it_opens_nothing(monkeypatch: pytest.MonkeyPatch, attempt: Takeover) -> None:
    reply = run_child(monkeypatch, attempt)
    assert isinstance(reply, Broken)
    assert "Too many open files" in reply.detail


def test_what_was_open_is_closed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as secret:
        reply = run_child(monkeypatch, lambda *_: os.write(secret.fileno(), b"x"))
    assert isinstance(reply, Broken)
    assert "Bad file descriptor" in reply.detail


def test_what_it_leaves_behind_reaches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of its own outlives it, with all that it has."""
    shared = mmap(-1, MEMORY_BYTES)

    def leave_a_writer(*_: object) -> np.ndarray:
        if os.fork() == 0:
            with contextlib.suppress(BaseException):
                shared[:4] = b"evil"
            os._exit(0)
        time.sleep(0.05)
        return np.ones((6, 2000), np.float32)

    monkeypatch.setattr(child, "load", leave_a_writer)
    one = child.Child(shared)
    job = Job(Modality.IMU, OPTIONS, LIMITS)
    assert one.run(to_frame(job, b"data"), LIMITS) == Decoded(Modality.IMU)
    one.end()
    assert np.frombuffer(shared, np.float32, 12_000).min() == 1


def test_it_crashes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = run_child(monkeypatch, lambda *_: os.kill(os.getpid(), signal.SIGSEGV))
    assert reply == Broken(f"a decoder's process ended with code {-signal.SIGSEGV}")


def test_it_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    reply = run_child(monkeypatch, lambda *_: time.sleep(60))
    assert isinstance(reply, Refused)
    assert reply.kind == "MediaTooLarge"


@pytest.mark.parametrize("frame", [Frame(0, b""), Frame(77, b"x"), Frame(1, b"junk")])
def test_what_it_says_is_not_trusted(monkeypatch: pytest.MonkeyPatch, frame: Frame) -> None:
    def lie(*_: object) -> None:
        # Its channel is the only descriptor beyond the standard ones.
        number = next(n for n in range(3, 4096) if _is_open(n))
        send(socket.socket(fileno=number), frame)
        os._exit(0)

    assert isinstance(run_child(monkeypatch, lie), Broken)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
