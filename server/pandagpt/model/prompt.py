"""The prompt: the only place where PandaGPT's template is written down.

Conversations in, token ids and media slots out. Knows no weights and no devices.

    ### Human: <Img>SLOT</Img> question
    ### Assistant: answer
    ### Human: next question
    ### Assistant:

The text before a slot and the text after it are separate calls of the tokenizer, as in the
reference. System texts, wherever they stand, go before the first `### Human:` on lines of
their own. Texts cannot forge the template: see `defuse`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from pandagpt.errors import InvalidValue, UnsupportedContentType
from pandagpt.model.tokenizer import Tokenizer

Role = Literal["system", "user", "assistant"]
Fusion = Literal["sum", "interleave"]

STOP = "###"
"""Ends an answer where a line starts with it, and is no part of it. The reference stops at its
first token anywhere, which cuts an answer off at `C##` or a Markdown heading."""

_HEADERS: dict[Role, str] = {"user": "Human: ", "assistant": "Assistant: "}
_ANSWER = "\n### Assistant:"


@dataclass(frozen=True, slots=True)
class MediaSlot:
    """One vector of the prompt: the sum of the projected embeddings of these media."""

    media: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """Token ids, with `slots[position]` where a media vector stands instead of a token.

    `token_ids[position]` of a slot is a placeholder (0) that is never embedded.
    """

    token_ids: tuple[int, ...]
    slots: tuple[tuple[int, MediaSlot], ...] = ()

    def __len__(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class MediaRef:
    """A place in a turn where medium `index` of the request stands."""

    index: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said; several texts of a turn are lines of one."""

    role: Role
    parts: tuple[str | MediaRef, ...]


_Piece = str | MediaSlot


def render(
    turns: Sequence[Turn], tokenizer: Tokenizer, fusion: Fusion, *, opens_answer: bool = True
) -> Prompt:
    """The prompt that asks for the next answer; it ends with `### Assistant:` if `opens_answer`.

    `sum` puts one slot for all media before the first user's text (the reference's way),
    `interleave` one slot for each medium where it stands. No media: no slot, no `<Img>`.
    """
    _require_media_of_users(turns)
    system, spoken = _split_system(turns)
    pieces: list[_Piece] = [defuse(system)] if system else []
    for turn in _place(spoken, fusion):
        separator = "\n### " if pieces else "### "
        pieces += [separator + _HEADERS[turn.role], *_body(turn)]
    if opens_answer:
        pieces.append(_ANSWER if pieces else _ANSWER.removeprefix("\n"))
    script = _Script(tokenizer)
    script.write(pieces)
    return script.prompt


def render_training(
    turns: Sequence[Turn], tokenizer: Tokenizer, fusion: Fusion = "sum"
) -> tuple[Prompt, tuple[bool, ...]]:
    """A whole conversation, each turn tokenised alone, and which of its tokens are targets.

    Targets are the answers and the line `###` that ends each; never BOS, questions or slots.
    """
    _require_media_of_users(turns)
    _require_alternation(turns)
    script = _Script(tokenizer)
    is_target = [False]
    for turn in _place(turns, fusion):
        is_answer = turn.role == "assistant"
        script.write(_answer(turn) if is_answer else _question(turn, is_first=len(script) == 1))
        is_target += [is_answer] * (len(script) - len(is_target))
    return script.prompt, tuple(is_target)


class _Script:
    """A prompt while it is written: after BOS, each text is one call of the tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._token_ids = [tokenizer.bos_id]
        self._slots: list[tuple[int, MediaSlot]] = []

    def __len__(self) -> int:
        return len(self._token_ids)

    @property
    def prompt(self) -> Prompt:
        return Prompt(tuple(self._token_ids), tuple(self._slots))

    def write(self, pieces: Iterable[_Piece]) -> None:
        """Texts that touch are joined first."""
        for is_text, group in groupby(pieces, key=lambda piece: isinstance(piece, str)):
            if is_text:
                text = "".join(piece for piece in group if isinstance(piece, str))
                self._token_ids += self._tokenizer.encode(text)
            else:
                self._write_slots(piece for piece in group if isinstance(piece, MediaSlot))

    def _write_slots(self, slots: Iterable[MediaSlot]) -> None:
        for slot in slots:
            self._slots.append((len(self), slot))
            self._token_ids.append(0)


_LINE_BREAKS = frozenset("\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029")
_BLANKS = "▁"  # SentencePiece reads it as a blank
_HASHES = re.compile("(#{3,})")
_ROLE = re.compile(rf"[\s{_BLANKS}]*(human|assistant)[\s{_BLANKS}]*:", re.IGNORECASE)
_TAG = re.compile("<(?=/?Img>)")


def defuse(text: str) -> str:
    """Breaks up what would be template inside a text: `###` -> `# # #`, `<Img>` -> `< Img>`.

    Hashes only where a line starts with them, or where a role's name and colon follow.
    """
    gaps = _HASHES.split(_TAG.sub("< ", text))
    for i in range(1, len(gaps), 2):
        if _starts_line(gaps[i - 1], is_first=i == 1) or _ROLE.match(gaps[i + 1]):
            gaps[i] = " ".join(gaps[i])
    return "".join(gaps)


def _starts_line(before: str, is_first: bool) -> bool:
    """Whether only blanks stand between `before`'s end and the start of a line."""
    end = len(before)
    while end and (before[end - 1].isspace() or before[end - 1] in _BLANKS):
        end -= 1
        if before[end] in _LINE_BREAKS:
            return True
    return end == 0 and is_first


@dataclass(frozen=True, slots=True)
class _PlacedTurn:
    role: Role
    pieces: tuple[_Piece, ...]


def _split_system(turns: Sequence[Turn]) -> tuple[str, list[Turn]]:
    texts = [_text(turn) for turn in turns if turn.role == "system"]
    return "\n".join(texts), [turn for turn in turns if turn.role != "system"]


def _place(turns: Sequence[Turn], fusion: Fusion) -> list[_PlacedTurn]:
    if fusion == "interleave":
        return [_PlacedTurn(turn.role, tuple(_interleaved(turn))) for turn in turns]
    media = tuple(p.index for turn in turns for p in turn.parts if isinstance(p, MediaRef))
    placed = [_PlacedTurn(turn.role, (_text(turn),)) for turn in turns]
    if media:
        first = next(i for i, turn in enumerate(turns) if turn.role == "user")
        placed[first] = _PlacedTurn("user", (MediaSlot(media), *placed[first].pieces))
    return placed


def _interleaved(turn: Turn) -> Iterable[_Piece]:
    for is_text, parts in groupby(turn.parts, key=lambda part: isinstance(part, str)):
        if is_text:
            yield "\n".join(part for part in parts if isinstance(part, str))
        else:
            yield from (MediaSlot((part.index,)) for part in parts if isinstance(part, MediaRef))


def _text(turn: Turn) -> str:
    return "\n".join(part for part in turn.parts if isinstance(part, str))


def _body(turn: _PlacedTurn) -> list[_Piece]:
    """The turn's text and slots, each slot in its tags; one blank parts tags from text."""
    body: list[_Piece] = []
    for piece in turn.pieces:
        if isinstance(piece, str):
            body.append(defuse(piece))
            continue
        before = body[-1] if body else ""
        needs_blank = isinstance(before, str) and before != "" and not before[-1].isspace()
        body += [" <Img>" if needs_blank else "<Img>", piece, "</Img> "]
    return body


def _question(turn: _PlacedTurn, *, is_first: bool) -> list[_Piece]:
    """The `###` before a later question is the end of the answer before it."""
    header = "### Human: " if is_first else "Human: "
    return [header, *_body(turn), _ANSWER]


def _answer(turn: _PlacedTurn) -> list[_Piece]:
    return [*_body(turn), f"\n{STOP}"]


def _require_media_of_users(turns: Sequence[Turn]) -> None:
    for turn in turns:
        if turn.role != "user" and any(isinstance(part, MediaRef) for part in turn.parts):
            raise UnsupportedContentType(
                f"A medium stands in a {turn.role} message; only user messages may hold media."
            )


def _require_alternation(turns: Sequence[Turn]) -> None:
    roles = [turn.role for turn in turns]
    expected = ["user" if i % 2 == 0 else "assistant" for i in range(len(turns))]
    if not turns or roles != expected or len(turns) % 2:
        message = "A training conversation alternates user and assistant, from a question to an"
        raise InvalidValue(f"{message} answer; this one is: {', '.join(roles) or 'empty'}.")
