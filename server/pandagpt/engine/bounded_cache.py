"""A cache bounded in bytes: what was used least recently goes first. Knows only sizes."""

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Key = TypeVar("Key")
Value = TypeVar("Value", bound=Sized)


class BoundedCache(Generic[Key, Value]):
    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._values: OrderedDict[Key, Value] = OrderedDict()

    def get(self, key: Key) -> Value | None:
        if (value := self._values.get(key)) is not None:
            self._values.move_to_end(key)
        return value

    def put(self, key: Key, value: Value) -> None:
        if (old := self._values.pop(key, None)) is not None:
            self.num_bytes -= old.nbytes
        self._values[key] = value
        self.num_bytes += value.nbytes
        while self.num_bytes > self.max_bytes:
            _, oldest = self._values.popitem(last=False)
            self.num_bytes -= oldest.nbytes

    def clear(self) -> None:
        self._values.clear()
        self.num_bytes = 0
