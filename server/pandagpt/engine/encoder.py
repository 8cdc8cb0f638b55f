"""Preprocessed media and texts in, ImageBind's embeddings out.

Media of all waiting requests are encoded together, by modality and shape. A batch that fails
is tried again item by item, so that only the guilty medium fails. Knows no requests.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from pandagpt.engine import faults
from pandagpt.engine.bounded_cache import BoundedCache
from pandagpt.engine.request import MediaInput
from pandagpt.engine.watchdog import Watch
from pandagpt.errors import EngineFailure, Overloaded, PandaError
from pandagpt.logs import get_logger
from pandagpt.media.modality import Modality
from pandagpt.model.device import is_out_of_memory
from pandagpt.model.pandagpt import PandaGPT

log = get_logger()

# Whose cache, and which bytes: callers with different salts never share an entry.
MediaKey = tuple[str, str]


@dataclass(slots=True, eq=False)
class EncodeJob:
    """`is_wanted` turns false when every request that asked for it has gone."""

    key: MediaKey
    media: MediaInput
    is_wanted: bool = True


@dataclass(frozen=True, slots=True)
class EncodedMedia:
    """`seconds` is its share of what its batch took."""

    key: MediaKey
    row: Tensor | PandaError
    modality: Modality
    seconds: float = 0.0


MediaCache = BoundedCache[MediaKey, Tensor]
"""Embeddings by content."""


class Encoder:
    def __init__(self, model: PandaGPT, max_batch: int, watch: Watch | None = None) -> None:
        """`watch` is told of each batch."""
        self._model = model
        self._max_batch = max_batch
        self._watch = watch or Watch("encoder")

    def encode(self, jobs: Sequence[EncodeJob]) -> Iterator[EncodedMedia]:
        """Yields batch by batch, so that no request waits for another's modality."""
        groups: dict[tuple[object, ...], list[EncodeJob]] = defaultdict(list)
        for job in jobs:
            groups[job.media.modality, job.media.array.shape].append(job)
        for group in groups.values():
            for start in range(0, len(group), self._max_batch):
                batch = group[start : start + self._max_batch]
                yield from self._encode_batch([job for job in batch if job.is_wanted])

    def _encode_batch(self, jobs: list[EncodeJob]) -> list[EncodedMedia]:
        if not jobs:
            return []
        self._watch.begin()
        started_at = perf_counter()
        try:
            rows = self._rows([job.media for job in jobs])
        except Exception as error:
            if len(jobs) > 1:
                return [encoded for job in jobs for encoded in self._encode_batch([job])]
            media = jobs[0].media
            return [EncodedMedia(jobs[0].key, _failure(media, error), media.modality)]
        finally:
            self._watch.end()
        seconds = (perf_counter() - started_at) / len(jobs)
        return [
            EncodedMedia(job.key, row, job.media.modality, seconds)
            for job, row in zip(jobs, rows, strict=True)
        ]

    @torch.inference_mode()
    def _rows(self, media: list[MediaInput]) -> list[Tensor]:
        faults.strike("encode")
        batch = np.stack([medium.array for medium in media])
        # On the host, which waits for them here: they may then be used on any thread's stream.
        rows_BE = self._model.embed_media(media[0].modality, batch).cpu()
        faults.spoil("encode", rows_BE)
        if not rows_BE.isfinite().all():
            raise FloatingPointError("an embedding is not finite")
        return [row.clone() for row in rows_BE]


def _failure(media: MediaInput, error: Exception) -> PandaError:
    log.error("media_encoding_failed", modality=media.modality.value, exc_info=error)
    if is_out_of_memory(error):
        return Overloaded(
            f"There is no memory left to encode the {media.modality.value}. Try later."
        )
    return EngineFailure(f"The {media.modality.value} could not be encoded. Try again.")
