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

from pandagpt.child_process import leave_signals_to_parent, limit
from pandagpt.errors import MediaTooLarge, RequestError
from pandagpt.frames import Buffer, Frame, open_channel, receive, receive_into, send, send_all
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
from pandagpt.media.loader import array_bytes, load, modality_of

_TOO_SLOW = (signal.SIGXCPU, signal.SIGALRM, signal.SIGKILL)


def serve(channel: socket.socket, shared: mmap) -> None:
    """Returns when the other side has gone."""
    while True:
        child = Child(shared)
        if (frame := receive(channel)) is None:
            return
        job = from_frame(frame)
        assert isinstance(job, Job)
        if child.has_ended():
            child.end()
            child = Child(shared)
        try:
            send(channel, to_frame(child.run(frame, job.limits)))
        except OSError:
            return
        child.end()
        # Its bytes must not stay until the next file comes.
        del frame


class Child:
    """Forked before its file is there: none waits for a fork.

    It has no part in the shared memory: its array comes over its socket, so whatever it may leave
    behind changes nobody else's.
    """

    def __init__(self, shared: mmap) -> None:
        self._shared = shared
        self._channel, theirs = open_channel()
        with theirs:
            self._pid = os.fork()
            if self._pid == 0:
                _live(theirs, shared)

    def has_ended(self) -> bool:
        """One that was killed while it waited."""
        if self._pid and os.waitpid(self._pid, os.WNOHANG) != (0, 0):
            self._pid = 0
        return self._pid == 0

    def run(self, job: Frame, limits: MediaLimits) -> Reply:
        with suppress(OSError):  # it has been killed meanwhile; its status tells
            send(self._channel, job)
        if reply := self._reply():
            return reply
        _, status, used = os.wait4(self._pid, 0)
        self._pid = 0
        if os.waitstatus_to_exitcode(status) == -signal.SIGKILL:
            _leave_if_killed_by_others(used.ru_utime + used.ru_stime, limits)
        return _obituary(status, limits)

    def end(self) -> None:
        """Who has answered has nothing more to do."""
        self._channel.close()
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def _reply(self) -> Reply | None:
        """A hostile file may have taken it over: of what it says only the type is trusted."""
        frame = receive(self._channel)
        try:
            message = from_frame(frame) if frame else None
            if isinstance(message, Decoded):
                with memoryview(self._shared)[: array_bytes(message.modality)] as array:
                    receive_into(self._channel, array)
        except (ValueError, EOFError, OSError):
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


def _live(channel: socket.socket, shared: mmap) -> NoReturn:
    try:
        num_bytes = _address_space()
        shared.close()
        enter_sandbox(channel.fileno())
        if (frame := receive(channel)) is not None:
            job, data = from_frame(frame), bytes(frame.buffers[0])
            assert isinstance(job, Job)
            del frame
            _limit_use(job.limits, num_bytes + len(data))
            reply, array = _decode(job, data)
            send(channel, to_frame(reply))
            send_all(channel, array)
        os._exit(0)
    finally:
        os._exit(1)


def _decode(job: Job, data: bytes) -> tuple[Reply, Buffer]:
    try:
        modality = job.modality or modality_of(data)
        array = load(modality, data, job.options, job.limits)
    except RequestError as error:
        return Refused.by(error), b""
    except MemoryError:
        megabytes = job.limits.max_decode_bytes // 2**20
        message = f"Decoding needs more memory than {megabytes} MB. Send a smaller file."
        return Refused.by(MediaTooLarge(message)), b""
    except Exception as error:
        return Broken(f"{type(error).__name__}: {error}"[:500]), b""
    return Decoded(modality), np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def enter_sandbox(channel: int) -> None:
    """No way back. What is open already is closed, except the channel."""
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    os.closerange(3, channel)
    os.closerange(channel + 1, 1 << 16)
    limit(resource.RLIMIT_NOFILE, 0)
    limit(resource.RLIMIT_CORE, 0)


def _limit_use(limits: MediaLimits, num_bytes: int) -> None:
    """`num_bytes` of address space are in use already."""
    seconds = math.ceil(limits.max_decode_seconds)
    limit(resource.RLIMIT_CPU, seconds, seconds + 1)
    limit(resource.RLIMIT_AS, num_bytes + limits.max_decode_bytes)
    # The kernel's own clock: it also ends what hangs inside a library.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, limits.max_decode_wall_seconds)


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
    leave_signals_to_parent()
    _import_what_comes_late()
    # What lives now lives for good: children's collectors need not touch, and so copy, it.
    gc.freeze()
    serve(socket.socket(fileno=channel), mmap(memory, MEMORY_BYTES))
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
