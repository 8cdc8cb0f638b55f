"""Files decoded outside the server's process, by decoders that may be lost at any time.

`__main__` is the other side: it forks a child for each file, within limits. A decoder that has
ended is replaced when it is next needed.
"""

import math
import os
import signal
import sys
import tempfile
from contextlib import suppress
from mmap import mmap
from queue import SimpleQueue

import numpy as np

from pandagpt.child_process import start_module
from pandagpt.errors import EngineFailure, InvalidMedia
from pandagpt.frames import receive, send
from pandagpt.logs import get_logger
from pandagpt.media.job import MEMORY_BYTES, Decoded, Job, Refused, Reply, from_frame, to_frame
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import shape_of
from pandagpt.media.modality import Modality
from pandagpt.media.options import MediaOptions

log = get_logger()

# Beyond the time that a child has: for the start of a process and its sending on a busy machine.
PATIENCE_SECONDS = 10.0
# A process with threads cannot fork safely, so numeric libraries get none of their own.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class DecoderPool:
    """As many files at once as it has decoders. Threads share it."""

    def __init__(self, limits: MediaLimits, num_decoders: int) -> None:
        """The processes start when they are first needed, or by `start`."""
        self.limits = limits
        self.num_decoders = num_decoders
        self._decoders = [Decoder(limits) for _ in range(num_decoders)]
        self._free: SimpleQueue[Decoder] = SimpleQueue()
        for decoder in self._decoders:
            self._free.put(decoder)

    def start(self) -> None:
        """Returns at once, while the processes import what they need."""
        for decoder in self._decoders:
            decoder.start()

    def load(
        self, modality: Modality | None, data: bytes, options: MediaOptions
    ) -> tuple[Modality, np.ndarray]:
        """`loader.load` elsewhere; waits for a free decoder. `modality` None: by content.

        Raises the same errors, and EngineFailure if the decoder was lost meanwhile.
        """
        decoder = self._free.get()
        try:
            return decoder.load(modality, data, options)
        finally:
            self._free.put(decoder)

    def close(self) -> None:
        for decoder in self._decoders:
            decoder.close()


class Decoder:
    """One process at a time, used by one thread at a time; `close` may come from any."""

    def __init__(self, limits: MediaLimits) -> None:
        self._limits = limits
        self._process: _Process | None = None

    def start(self) -> None:
        if self._process is None:
            self._process = _Process(self._limits.max_decode_wall_seconds + PATIENCE_SECONDS)

    def load(
        self, modality: Modality | None, data: bytes, options: MediaOptions
    ) -> tuple[Modality, np.ndarray]:
        reply = self._ask(Job(modality, options, self._limits), data)
        if isinstance(reply, Refused):
            raise reply.error
        if isinstance(reply, Decoded):
            assert self._process
            return reply.modality, self._process.array(reply.modality)
        log.error("decoder_broken", modality=modality and modality.value, detail=reply.detail)
        raise InvalidMedia("The file could not be decoded. Send another, or convert it first.")

    def close(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()

    def _ask(self, job: Job, data: bytes) -> Reply:
        """A decoder lost while it was idle costs no request anything."""
        if self._process and not self._process.is_alive:
            log.warning("decoder_replaced")
            self.close()
        self.start()
        assert self._process
        reply = self._process.ask(job, data)
        if reply is None:
            log.error("decoder_ended")
            self.close()
            raise EngineFailure("The decoder ended while it read this file. Try again.")
        return reply


class _Process:
    def __init__(self, patience_seconds: float) -> None:
        memory = _shared_memory(MEMORY_BYTES)
        self._memory = mmap(memory, MEMORY_BYTES)
        self._popen, self._channel = start_module("pandagpt.media", memory, environment=ONE_THREAD)
        self._channel.settimeout(patience_seconds)
        os.close(memory)

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def ask(self, job: Job, data: bytes) -> Reply | None:
        """None: it has ended, or says nothing."""
        try:
            send(self._channel, to_frame(job, data))
        except OSError:
            return None
        frame = receive(self._channel)
        message = from_frame(frame) if frame else None
        return None if isinstance(message, Job) else message

    def array(self, modality: Modality) -> np.ndarray:
        """A copy of what it has decoded last: the memory is for the next file too."""
        shape = shape_of(modality)
        return np.frombuffer(self._memory, np.float32, math.prod(shape)).reshape(shape).copy()

    def kill(self) -> None:
        """With the child that may be at work."""
        self._channel.close()
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()


def _shared_memory(num_bytes: int) -> int:
    """A new file descriptor of memory; of a nameless file, where a system has no such thing."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("decoded")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.truncate(descriptor, num_bytes)
    return descriptor
