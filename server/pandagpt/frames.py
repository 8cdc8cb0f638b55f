"""Frames: a kind, a header and raw buffers, as bytes on a stream socket.

Lengths stand first (kind, number of buffers, length of the header, length of all that follows;
then the length of each buffer), so a reader knows how much to wait for. Knows no messages.
"""

import select
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

import numpy as np

SEND_BUFFER_BYTES = 1 << 20
_PREFIX = struct.Struct("<HHIQ")

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Frame:
    kind: int
    header: Buffer
    buffers: Sequence[Buffer] = ()


def open_channel() -> tuple[socket.socket, socket.socket]:
    """Both ends, with room for most frames: who sends seldom waits for who reads."""
    ends = socket.socketpair()
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    return ends


def send(sock: socket.socket, frame: Frame) -> None:
    """Blocks until the other side has taken it. Raises OSError when that has gone."""
    lengths = struct.pack(f"<{len(frame.buffers)}Q", *map(len, frame.buffers))
    rest = len(lengths) + len(frame.header) + sum(map(len, frame.buffers))
    prefix = _PREFIX.pack(frame.kind, len(frame.buffers), len(frame.header), rest)
    send_all(sock, b"".join((prefix, lengths, frame.header)))
    for buffer in frame.buffers:
        send_all(sock, buffer)


def receive(sock: socket.socket) -> Frame | None:
    """Blocks until a whole frame is here. None: the other side has gone."""
    try:
        return _read(lambda num_bytes: _receive_exactly(sock, num_bytes))
    except (EOFError, OSError):
        return None


class FrameFeed:
    """Bytes as they come in, whole frames out."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._held += data
        while (end := self._first_end()) <= len(self._held):
            first = BytesIO(self._held[:end])
            del self._held[:end]
            yield _read(first.read)

    def _first_end(self) -> int:
        """Beyond what is held as long as the frame is not whole."""
        if len(self._held) < _PREFIX.size:
            return _PREFIX.size + 1
        return _PREFIX.size + _PREFIX.unpack_from(self._held)[-1]


def _read(read: Callable[[int], Buffer]) -> Frame:
    kind, num_buffers, header_length, _ = _PREFIX.unpack(read(_PREFIX.size))
    lengths = struct.unpack(f"<{num_buffers}Q", read(8 * num_buffers))
    return Frame(kind, read(header_length), [read(length) for length in lengths])


def _receive_exactly(sock: socket.socket, num_bytes: int) -> memoryview:
    # Not a bytearray: filling a film's 18 MB with zeros takes longer than receiving them.
    data = np.empty(num_bytes, np.uint8).data
    receive_into(sock, data)
    return data


def send_all(sock: socket.socket, data: Buffer) -> None:
    """Bytes without a frame around them, whose number both sides know.

    Blocks on a non-blocking socket too: uvloop makes every socket so that it watches.
    """
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            writable = select.poll()
            writable.register(sock, select.POLLOUT)
            writable.poll()


def receive_into(sock: socket.socket, rest: memoryview) -> None:
    """Fills it. Raises EOFError when the other side has gone."""
    while rest:
        received = sock.recv_into(rest)
        if not received:
            raise EOFError
        rest = rest[received:]
