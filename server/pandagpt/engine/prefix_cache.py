"""Keys and values of prompts and answers that were computed before, in blocks of tokens.

What a sequence begins with (tokens, media by their digests) in, the blocks that are known of it
out: the next turn of a conversation computes only what is new. A block is found by the digest
of all that stands before its end and of its caller's salt, so callers with different salts never
share one. Bounded in bytes, the least recently used first. Knows blocks only as things of a size.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

BLOCK_TOKENS = 16
"""A multiple of the positions that any decoder stores as one (KVCache's `block`)."""


class Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


Block = TypeVar("Block", bound=Sized)


@dataclass(slots=True, eq=False)
class Trail:
    """What a sequence consists of so far: token ids, and media as the digests in their slot."""

    salt: str
    items: list[int | str]
    _digests: list[bytes] = field(default_factory=list)

    def digests(self) -> list[bytes]:
        """One for each whole block, of everything up to its end."""
        for number in range(len(self._digests), len(self.items) // BLOCK_TOKENS):
            before = self._digests[-1] if self._digests else self.salt.encode()
            block = self.items[number * BLOCK_TOKENS : (number + 1) * BLOCK_TOKENS]
            self._digests.append(hashlib.sha256(before + repr(block).encode()).digest())
        return self._digests


class PrefixCache(Generic[Block]):
    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._blocks: OrderedDict[bytes, Block] = OrderedDict()

    def find(self, trail: Trail, most_tokens: int) -> list[Block]:
        """The blocks that `trail` begins with, at most `most_tokens` tokens of them."""
        known = list(self._known(trail.digests()[: most_tokens // BLOCK_TOKENS]))
        # The last one first: of a trail, what stands at the front must be forgotten last.
        for digest in reversed(known):
            self._blocks.move_to_end(digest)
        return [self._blocks[digest] for digest in known]

    def put(self, trail: Trail, most_tokens: int, save: Callable[[int], Block]) -> None:
        """Keeps the blocks within `most_tokens`; `save` copies block `number` if it is new."""
        if not self.max_bytes:
            return
        digests = trail.digests()[: most_tokens // BLOCK_TOKENS]
        for number, digest in enumerate(digests):
            if digest not in self._blocks:
                self._blocks[digest] = save(number)
                self.num_bytes += self._blocks[digest].nbytes
        for digest in reversed(digests):
            self._blocks.move_to_end(digest)
        self._shrink()

    def _known(self, digests: Sequence[bytes]) -> Iterator[bytes]:
        for digest in digests:
            if digest not in self._blocks:
                return
            yield digest

    def _shrink(self) -> None:
        while self.num_bytes > self.max_bytes:
            _, oldest = self._blocks.popitem(last=False)
            self.num_bytes -= oldest.nbytes
