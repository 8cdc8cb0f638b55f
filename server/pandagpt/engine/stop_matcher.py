"""Text in, the text that may be shown out; notices stop strings across any border.

Holds back only what could still become a stop string. The stop that ends first wins, so the
way in which the text was cut into pieces never changes the result.
"""


class StopMatcher:
    def __init__(self, stops: tuple[str, ...], *, include: bool = False, before: str = "") -> None:
        """`before` is text that stands before the first fed character and is never returned."""
        assert all(stops), "an empty stop string"
        self._stops = stops
        self._num_context = max(map(len, stops)) - 1
        self._firsts = frozenset(stop[0] for stop in stops)
        self._include = include
        self._held = before
        self._num_unshown = len(before)
        self.is_matched = False

    def pass_by(self, text: str) -> None:
        """Text that is shown whatever it holds. A stop may still begin in it."""
        seen = self._held + text
        self._held = seen[max(0, len(seen) - self._num_context) :]
        self._num_unshown = len(self._held)

    def feed(self, text: str) -> str:
        if self.is_matched:
            return ""
        buffer = self._held + text
        if self._firsts.isdisjoint(buffer):
            return self._release(buffer, len(buffer))
        if (span := self._find(buffer)) is not None:
            self.is_matched = True
            shown = self._release(buffer, span[1] if self._include else span[0])
            self._held = ""
            return shown
        return self._release(buffer, self._held_from(buffer))

    def flush(self) -> str:
        return self._release(self._held, len(self._held))

    def _release(self, buffer: str, end: int) -> str:
        shown, self._held = buffer[self._num_unshown : end], buffer[end:]
        self._num_unshown = max(0, self._num_unshown - end)
        return shown

    def _find(self, buffer: str) -> tuple[int, int] | None:
        """Start and end of the stop that ends first; of those, the longest."""
        starts = ((buffer.find(stop), len(stop)) for stop in self._stops)
        spans = [(start, start + length) for start, length in starts if start >= 0]
        return min(spans, key=lambda span: (span[1], span[0]), default=None)

    def _held_from(self, buffer: str) -> int:
        """Where the longest tail begins that is the beginning of a stop string."""
        for start, character in enumerate(buffer):
            if character in self._firsts and self._begins_a_stop(buffer[start:]):
                return start
        return len(buffer)

    def _begins_a_stop(self, tail: str) -> bool:
        return any(stop.startswith(tail) for stop in self._stops)
