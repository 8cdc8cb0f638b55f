"""What is kept, for whom, and what goes first."""

from dataclasses import replace

import pytest

from pandagpt.api.responses.store import ResponseStore, StoredItem, StoredResponse
from pandagpt.api.schemas.responses import MessageItem
from pandagpt.errors import InvalidValue, UnknownResponse


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def stored(name: str, previous: str | None = None, num_bytes: int = 10) -> StoredResponse:
    item = MessageItem.model_validate(
        {"type": "message", "role": "user", "content": "Hi", "id": f"msg_{name}"}
    )
    return StoredResponse(name, previous, b"{}", (StoredItem(item, num_bytes - 2),), ())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> ResponseStore:
    return ResponseStore(100, 60, max_responses=5, now=clock)


def has(store: ResponseStore, name: str, caller: str = "me") -> bool:
    try:
        return store.get(caller, name).id == name
    except UnknownResponse:
        return False


def test_callers_are_apart(store: ResponseStore) -> None:
    store.put("me", stored("a"))
    assert has(store, "a")
    assert not has(store, "a", "you")
    with pytest.raises(UnknownResponse):
        store.delete("you", "a")
    assert has(store, "a")


def test_deleting_gives_the_room_back(store: ResponseStore) -> None:
    store.put("me", stored("a"))
    assert store.num_bytes == 10
    store.delete("me", "a")
    assert (store.num_bytes, len(store)) == (0, 0)


def test_bytes_are_bounded_and_the_least_used_goes(store: ResponseStore) -> None:
    for name in ("a", "b", "c"):
        store.put("me", stored(name, num_bytes=30))
    assert has(store, "a")
    store.put("me", stored("d", num_bytes=30))
    assert not has(store, "b")
    assert has(store, "a")
    assert store.num_bytes == 90


def test_nobody_takes_the_share_of_others(store: ResponseStore) -> None:
    for name in ("a", "b"):
        store.put("me", stored(name, num_bytes=25))
    for number in range(20):
        store.put("you", stored(str(number), num_bytes=25))
    assert has(store, "a")
    assert has(store, "b")
    assert [n for n in range(20) if has(store, str(n), "you")] == [18, 19]
    assert store.num_bytes == 100


def test_who_comes_anew_takes_from_who_has_most(store: ResponseStore) -> None:
    for number in range(5):
        store.put("me", stored(str(number), num_bytes=20))
    store.put("you", stored("a", num_bytes=40))
    assert has(store, "a", "you")
    assert [n for n in range(5) if has(store, str(n))] == [2, 3, 4]


def test_the_number_is_shared_too(store: ResponseStore) -> None:
    store.put("me", stored("a"))
    for number in range(6):
        store.put("you", stored(str(number)))
    assert has(store, "a")
    assert [n for n in range(6) if has(store, str(n), "you")] == [2, 3, 4, 5]


def test_what_is_larger_than_all_room_costs_nobody_else(store: ResponseStore) -> None:
    store.put("me", stored("a"))
    store.put("me", stored("b", num_bytes=101))
    assert has(store, "a")
    assert not has(store, "b")
    with pytest.raises(InvalidValue) as refusal:
        store.refuse_too_large(101)
    assert refusal.value.param == "store"
    store.refuse_too_large(100)


def test_the_number_is_bounded(store: ResponseStore) -> None:
    for number in range(6):
        store.put("me", stored(str(number)))
    assert len(store) == 5
    assert not has(store, "0")


def test_they_expire_once_unused(store: ResponseStore, clock: Clock) -> None:
    store.put("me", stored("a"))
    store.put("me", stored("b"))
    clock.seconds = 50
    assert has(store, "a")
    clock.seconds = 70
    assert has(store, "a")
    assert not has(store, "b")
    clock.seconds = 131
    assert not has(store, "a")
    assert store.num_bytes == 0


def test_a_conversation_is_its_turns_in_order(store: ResponseStore) -> None:
    assert store.conversation("me", None, 100) == []
    for name, previous in (("a", None), ("b", "a"), ("c", "b")):
        store.put("me", stored(name, previous))
    turns = store.conversation("me", "c", 100)
    assert [turn.id for turn in turns] == ["a", "b", "c"]
    with pytest.raises(InvalidValue) as refusal:
        store.conversation("me", "c", 29)
    assert refusal.value.param == "previous_response_id"


def test_a_conversation_keeps_its_first_turn_longest(store: ResponseStore) -> None:
    for name, previous in (("a", None), ("b", "a")):
        store.put("me", stored(name, previous, num_bytes=30))
    store.conversation("me", "b", 100)
    store.put("me", stored("c", num_bytes=70))
    assert has(store, "a")
    assert not has(store, "b")


def test_a_conversation_without_its_first_turn_is_none(store: ResponseStore) -> None:
    store.put("me", stored("a"))
    store.put("me", stored("b", "a"))
    store.delete("me", "a")
    with pytest.raises(UnknownResponse):
        store.conversation("me", "b", 100)


def test_items_are_found_as_long_as_a_response_holds_them(store: ResponseStore) -> None:
    store.put("me", stored("a"))
    assert store.item("me", "msg_a").id == "msg_a"
    with pytest.raises(UnknownResponse):
        store.item("you", "msg_a")
    again = replace(stored("b"), input=stored("a").input)
    store.put("me", again)
    store.delete("me", "a")
    assert store.item("me", "msg_a").id == "msg_a"
    store.delete("me", "b")
    with pytest.raises(UnknownResponse):
        store.item("me", "msg_a")
