"""`python -m pandagpt.media FD FD`: a decoder's process, which `decoder` starts.

It reads no file itself: each is decoded by a child forked for it alone, so nothing of one
sender's file is left for the next, and a child that dies takes nobody along. A child has a limit
of memory and of time, and may open neither a file nor a socket.
"""

import encodings.utf_8_sig  # noqa: F401  (a child cannot)
import gc
import importlib
import math
import os
import pkgutil
import resource
import signal
import socket
import sys
from contextlib import suppress
from mmap import mmap
from typing import NoReturn

import av
import numpy as np
import PIL.Image

from pandagpt.errors import MediaTooLarge, RequestError
from pandagpt.frames import Frame, receive, send
from pandagpt.media.job import (
    MEMORY_BYTES,
    Broken,
    Decoded,
    Job,
    Refused,
    Reply,
    from_frame,
    to_frame,
)
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import load, modality_of

_TOO_SLOW = (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL)


def serve(channel: socket.socket, shared: mmap) -> None:
    """Returns when the other side has gone."""
    while (frame := receive(channel)) is not None:
        job = from_frame(frame)
        assert isinstance(job, Job)
        try:
            send(channel, to_frame(_run_child(job, bytes(frame.buffers[0]), shared)))
        except OSError:
            return
        # Its bytes must not stay until the next file comes.
        del frame


def _run_child(job: Job, data: bytes, shared: mmap) -> Reply:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            pid = os.fork()
            if pid == 0:
                _live(theirs, job, data, shared)
        frame = receive(ours)
    _, status, used = os.wait4(pid, 0)
    if reply := _checked(frame) if frame else None:
        return reply
    if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
        _leave_if_killed_by_others(used.ru_utime + used.ru_stime, job.limits)
    return _obituary(status, job.limits)


def _checked(frame: Frame) -> Reply | None:
    """A hostile file may have taken over the child: of what it says only the type is trusted."""
    try:
        message = from_frame(frame)
    except ValueError:
        return None
    return None if isinstance(message, Job) else message


def _leave_if_killed_by_others(cpu_seconds: float, limits: MediaLimits) -> None:
    """By a system short of memory, say: no fault of the file, which so learns of a lost decoder."""
    if cpu_seconds < math.ceil(limits.max_decode_seconds):
        os._exit(1)


def _obituary(status: int, limits: MediaLimits) -> Reply:
    code = os.waitstatus_to_exitcode(status)
    if -code in _TOO_SLOW:
        return Refused.by(
            MediaTooLarge(
                f"Decoding took longer than {limits.max_decode_seconds:g} seconds. "
                "Send a shorter or smaller file."
            )
        )
    return Broken(f"a decoder's process ended with code {code}")


# -- in the child


def _live(channel: socket.socket, job: Job, data: bytes, shared: mmap) -> NoReturn:
    try:
        enter_sandbox(channel.fileno(), job.limits)
        send(channel, to_frame(_decode(job, data, shared)))
        os._exit(0)
    finally:
        os._exit(1)


def _decode(job: Job, data: bytes, shared: mmap) -> Reply:
    try:
        modality = job.modality or modality_of(data)
        array = load(modality, data, job.options, job.limits)
    except RequestError as error:
        return Refused.by(error)
    except MemoryError:
        megabytes = job.limits.max_decode_bytes // 2**20
        message = f"Decoding needs more memory than {megabytes} MB. Send a smaller file."
        return Refused.by(MediaTooLarge(message))
    except Exception as error:
        return Broken(f"{type(error).__name__}: {error}"[:500])
    np.frombuffer(shared, np.float32, array.size).reshape(array.shape)[:] = array
    return Decoded(modality)


def enter_sandbox(channel: int, limits: MediaLimits) -> None:
    """No way back. What is open already is closed, except the channel."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.closerange(3, channel)
    os.closerange(channel + 1, 1 << 16)
    seconds = math.ceil(limits.max_decode_seconds)
    _limit(resource.RLIMIT_CPU, seconds, seconds + 1)
    _limit(resource.RLIMIT_AS, _address_space() + limits.max_decode_bytes)
    _limit(resource.RLIMIT_NOFILE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    # The kernel's own clock: it also ends what hangs inside a library.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.max_decode_wall_seconds)


def _limit(what: int, soft: int, hard: int | None = None) -> None:
    # Not every system has every limit; the others still hold.
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (soft, soft if hard is None else hard))


def _address_space() -> int:
    """Of this process, in bytes, where the system tells: libraries alone map hundreds of MB."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _import_what_comes_late() -> None:
    """A child cannot open the modules that libraries import as they meet a format."""
    PIL.Image.init()
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def main(channel: int, memory: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    _import_what_comes_late()
    # What lives now lives for good: children's collectors need not touch, and so copy, it.
    gc.freeze()
    serve(socket.socket(fileno=channel), mmap(memory, MEMORY_BYTES))
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
