"""Stop strings: found across any border, never shown, nothing else held back for long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandagpt.engine.stop_matcher import StopMatcher

Pieces = list[str]


def run(matcher: StopMatcher, pieces: Pieces) -> tuple[str, bool]:
    shown = ""
    for piece in pieces:
        shown += matcher.feed(piece)
        if matcher.is_matched:
            return shown, True
    shown += matcher.flush()
    return shown, matcher.is_matched


def expected(text: str, stops: tuple[str, ...], include: bool) -> tuple[str, bool]:
    """By definition: the first end of any stop, then the earliest start that ends there."""
    for end in range(1, len(text) + 1):
        starts = [end - len(stop) for stop in stops if text[:end].endswith(stop)]
        if starts:
            return text[: end if include else min(starts)], True
    return text, False


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["one two"], "one two"),
        (["a END b"], "a "),
        (["a E", "N", "D b"], "a "),
        (["a EN", "EN", "D"], "a EN"),
        (["EEND"], "E"),
    ],
)
def test_finds_a_stop_across_borders(pieces: Pieces, shown: str) -> None:
    assert run(StopMatcher(("END",)), pieces)[0] == shown


def test_holds_back_only_what_may_become_a_stop() -> None:
    matcher = StopMatcher(("END",))
    assert matcher.feed("the E") == "the "
    assert matcher.feed("N") == ""
    assert matcher.feed("ough") == "ENough"


def test_flush_gives_what_was_held_back() -> None:
    matcher = StopMatcher(("END",))
    assert matcher.feed("the EN") == "the "
    assert matcher.flush() == "EN"
    assert matcher.flush() == ""


def test_says_nothing_after_the_stop() -> None:
    matcher = StopMatcher(("END",))
    assert matcher.feed("a END b") == "a "
    assert matcher.feed("more") == ""
    assert matcher.flush() == ""


def test_includes_the_stop_if_asked() -> None:
    assert run(StopMatcher(("END",), include=True), ["a E", "ND b"]) == ("a END", True)


@pytest.mark.parametrize(
    ("text", "shown", "is_matched"),
    [
        ("### Human: hi", "", True),
        ("Yes.\n### Human", "Yes.", True),
        ("Yes. ### no", "Yes. ### no", False),
        ("## Title\nText", "## Title\nText", False),
        ("\n", "\n", False),
        ("", "", False),
    ],
)
def test_a_stop_at_a_line_start(text: str, shown: str, is_matched: bool) -> None:
    for pieces in ([text], list(text)):
        matcher = StopMatcher(("\n###",), before="\n")
        assert run(matcher, pieces) == (shown, is_matched)


def test_text_passed_by_is_only_where_a_stop_may_begin() -> None:
    matcher = StopMatcher(("\n###",), before="\n")
    matcher.pass_by("a\n### b")
    assert matcher.feed("###") == "###"
    matcher.pass_by("\n#")
    assert matcher.feed("## c") == ""
    assert matcher.is_matched


def test_text_passed_by_is_never_shown_again() -> None:
    matcher = StopMatcher(("END",))
    matcher.pass_by("the EN")
    assert matcher.feed("ough") == "ough"
    matcher.pass_by("E")
    assert matcher.flush() == ""


TEXT = st.text("ab\n#", max_size=24)
STOPS = st.lists(st.text("ab\n#", min_size=1, max_size=4), min_size=1, max_size=4).map(tuple)


@given(pieces=st.lists(TEXT, max_size=8), stops=STOPS, include=st.booleans())
def test_any_split_equals_the_whole(pieces: Pieces, stops: tuple[str, ...], include: bool) -> None:
    text = "".join(pieces)
    assert run(StopMatcher(stops, include=include), pieces) == expected(text, stops, include)
