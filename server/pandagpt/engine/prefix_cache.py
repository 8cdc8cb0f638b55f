"""Keys and values of prompts and answers that were computed before, in blocks of tokens.

What a sequence begins with (tokens, media by their digests) in, the blocks that are known of it
out: the next turn of a conversation computes only what is new. A block is found by the digest
of all that stands before its end and of its caller's salt, so callers with different salts never
share one. Bounded in bytes, the least recently used first. Knows blocks only as things of a size.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Generic, TypeVar

from pandagpt.engine.bounded_cache import BoundedCache, Sized

BLOCK_TOKENS = 16
"""A multiple of the positions that any decoder stores as one (KVCache's `block`)."""


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
        self._blocks: BoundedCache[bytes, Block] = BoundedCache(max_bytes)

    @property
    def num_bytes(self) -> int:
        return self._blocks.num_bytes

    def clear(self) -> None:
        self._blocks.clear()

    def find(self, trail: Trail, most_tokens: int) -> list[Block]:
        """The blocks that `trail` begins with, at most `most_tokens` tokens of them."""
        digests = trail.digests()[: most_tokens // BLOCK_TOKENS]
        known = list(takewhile(lambda block: block is not None, map(self._blocks.get, digests)))
        # The last one first: of a trail, what stands at the front must be forgotten last.
        for digest in reversed(digests[: len(known)]):
            self._blocks.get(digest)
        return [block for block in known if block is not None]

    def put(self, trail: Trail, most_tokens: int, save: Callable[[int], Block]) -> None:
        """Keeps the blocks within `most_tokens`; `save` copies block `number` if it is new."""
        if not self._blocks.max_bytes:
            return
        self.find(trail, most_tokens)
        digests = trail.digests()[: most_tokens // BLOCK_TOKENS]
        for number, digest in reversed(list(enumerate(digests))):
            if self._blocks.get(digest) is None:
                self._blocks.put(digest, save(number))
