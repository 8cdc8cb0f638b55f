"""Frames on a socket: whole whatever the cuts, and an end that is told from silence."""

import socket
import threading

from hypothesis import given
from hypothesis import strategies as st

from pandagpt.frames import Frame, FrameFeed, receive, send

frames = st.builds(
    Frame,
    st.integers(0, 65535),
    st.binary(max_size=200),
    st.lists(st.binary(max_size=200), max_size=3),
)


def sent(frame: Frame) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        send(ours, frame)
        ours.close()
        return b"".join(iter(lambda: theirs.recv(1 << 16), b""))


@given(st.lists(frames, max_size=4), st.lists(st.integers(1, 60), min_size=1))
def test_frames_cut_anywhere(given: list[Frame], cuts: list[int]) -> None:
    data = b"".join(map(sent, given))
    feed = FrameFeed()
    found: list[Frame] = []
    position = 0
    while position < len(data):
        end = position + cuts[position % len(cuts)]
        found += feed.feed(data[position:end])
        position = end
    assert found == given


def test_a_large_buffer_arrives_whole() -> None:
    frame = Frame(3, b"header", (bytes(range(256)) * 40_000, b""))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        writer = threading.Thread(target=send, args=(ours, frame))
        writer.start()
        received = receive(theirs)
        writer.join()
    assert received == Frame(3, b"header", [bytearray(frame.buffers[0]), bytearray()])


def test_the_end_is_none_in_the_middle_of_a_frame_too() -> None:
    data = sent(Frame(1, b"header", (b"buffer",)))
    for length in (0, 3, len(data) - 1):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.sendall(data[:length])
            ours.close()
            assert receive(theirs) is None
