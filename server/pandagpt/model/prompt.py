"""The prompt: the only place where PandaGPT's template is written down.

Conversations in, token ids and media slots out. Knows no weights and no devices.
"""

from dataclasses import dataclass


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
