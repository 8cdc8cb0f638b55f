"""Answered responses and what was asked, in memory, for as long as they are used.

Bounded in bytes, in number and in time since the last use. Callers see only their own, and where
room is scarce, who takes most of it gives way.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from pandagpt.api.schemas.responses import InputItem
from pandagpt.errors import InvalidValue, UnknownResponse

MAX_RESPONSES = 10_000


@dataclass(frozen=True, slots=True)
class StoredItem:
    """Weighed once: one that is named again and again is not written out to be weighed."""

    item: InputItem
    num_bytes: int

    @property
    def id(self) -> str:
        assert self.item.id, "items get an id before they are kept"
        return self.item.id


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """`response` is JSON, the whole object; `input` and `output` the items of this turn alone.

    Items are kept as they were read: who goes on from them shares them, and copies no media.
    """

    id: str
    previous_id: str | None
    response: bytes
    input: tuple[StoredItem, ...]
    output: tuple[StoredItem, ...]

    @property
    def items(self) -> tuple[StoredItem, ...]:
        return self.input + self.output

    @property
    def num_bytes(self) -> int:
        return len(self.response) + sum(item.num_bytes for item in self.items)


_Key = tuple[str, str]
"""The caller's name, and an id."""


@dataclass(slots=True)
class _Entry:
    stored: StoredResponse
    used_at: float


@dataclass(slots=True)
class _Shelf:
    """One caller's, in the order of last use, so that what has expired stands in front."""

    entries: OrderedDict[str, _Entry] = field(default_factory=OrderedDict)
    num_bytes: int = 0


class ResponseStore:
    def __init__(
        self,
        max_bytes: int,
        ttl_seconds: float,
        max_responses: int = MAX_RESPONSES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._ttl_seconds = ttl_seconds
        self._max_responses = max_responses
        self._now = now
        self._shelves: dict[str, _Shelf] = {}
        self._places: dict[_Key, tuple[str, StoredItem]] = {}

    def __len__(self) -> int:
        return sum(len(shelf.entries) for shelf in self._shelves.values())

    def refuse_too_large(self, num_bytes: int) -> None:
        if num_bytes > self.max_bytes:
            message = f"The input has {num_bytes} bytes; at most {self.max_bytes} are stored."
            raise InvalidValue(f"{message} Send 'store': false.", "store")

    def put(self, caller: str, stored: StoredResponse) -> None:
        """Who has most loses what it used least recently: an equal share is nobody else's to take.

        Of what is larger than all room nothing is kept.
        """
        shelf = self._shelves.setdefault(caller, _Shelf())
        shelf.entries[stored.id] = _Entry(stored, self._now())
        shelf.num_bytes += stored.num_bytes
        for item in stored.items:
            self._places[caller, item.id] = stored.id, item
        self.num_bytes += stored.num_bytes
        if stored.num_bytes > self.max_bytes:
            self._drop(caller, stored.id)
        self._drop_expired()
        while self.num_bytes > self.max_bytes:
            self._drop_oldest(max(self._shelves, key=lambda one: self._shelves[one].num_bytes))
        while len(self) > self._max_responses:
            self._drop_oldest(max(self._shelves, key=lambda one: len(self._shelves[one].entries)))

    def get(self, caller: str, response_id: str) -> StoredResponse:
        """Raises UnknownResponse."""
        self._drop_expired()
        entries = self._shelves.get(caller, _Shelf()).entries
        if (entry := entries.get(response_id)) is None:
            raise UnknownResponse(
                f"No such response: '{response_id[:64]}'. It may have expired, been deleted, or "
                "been created with 'store': false."
            )
        entry.used_at = self._now()
        entries.move_to_end(response_id)
        return entry.stored

    def item(self, caller: str, item_id: str) -> StoredItem:
        """Which counts as a use of its response. Raises UnknownResponse."""
        self._drop_expired()
        if (place := self._places.get((caller, item_id))) is None:
            message = f"No such item: '{item_id[:64]}'. Its response may have expired or never been"
            raise UnknownResponse(f"{message} kept. Send the item itself.")
        response_id, item = place
        self.get(caller, response_id)
        return item

    def delete(self, caller: str, response_id: str) -> None:
        """Raises UnknownResponse."""
        self.get(caller, response_id)
        self._drop(caller, response_id)

    def conversation(
        self, caller: str, response_id: str | None, max_bytes: int
    ) -> list[StoredResponse]:
        """All turns up to this one, the first one first. Raises UnknownResponse, InvalidValue.

        The first turn counts as used last: what others need must not expire before them.
        """
        turns: list[StoredResponse] = []
        num_bytes = 0
        while response_id is not None:
            turns.append(self.get(caller, response_id))
            num_bytes += turns[-1].num_bytes
            if num_bytes > max_bytes:
                message = f"The conversation so far has more than the limit of {max_bytes} bytes."
                raise InvalidValue(f"{message} Begin a new one.", "previous_response_id")
            response_id = turns[-1].previous_id
        return turns[::-1]

    def _drop_oldest(self, caller: str) -> None:
        self._drop(caller, next(iter(self._shelves[caller].entries)))

    def _drop(self, caller: str, response_id: str) -> None:
        shelf = self._shelves[caller]
        stored = shelf.entries.pop(response_id).stored
        shelf.num_bytes -= stored.num_bytes
        self.num_bytes -= stored.num_bytes
        if not shelf.entries:
            del self._shelves[caller]
        for item in stored.items:
            # A later response may hold an item of the same id.
            if self._places.get((caller, item.id), ("",))[0] == response_id:
                del self._places[caller, item.id]

    def _drop_expired(self) -> None:
        oldest = self._now() - self._ttl_seconds
        for caller, shelf in list(self._shelves.items()):
            while shelf.entries and next(iter(shelf.entries.values())).used_at <= oldest:
                self._drop_oldest(caller)
