"""Which media are encoded, which are being encoded, and which requests wait for them.

Each is encoded once for all who wait for it, and kept by content. Knows no encoder.
"""

from torch import Tensor

from pandagpt.engine.encoder import EncodedMedia, EncodeJob, MediaCache, MediaKey
from pandagpt.engine.job import Job


class MediaTable:
    def __init__(self, max_bytes: int) -> None:
        self._known = MediaCache(max_bytes)
        self._waiting: dict[MediaKey, tuple[EncodeJob, list[Job]]] = {}

    def find(self, job: Job) -> list[EncodeJob]:
        """Gives the job what is known, and lets it wait for the rest, of which these are new."""
        new = []
        for key, medium in dict(zip(job.keys, job.request.media, strict=True)).items():
            if (row := self._known.get(key)) is not None:
                job.rows[key] = row
                continue
            if key not in self._waiting:
                self._waiting[key] = (EncodeJob(key, medium), [])
                new.append(self._waiting[key][0])
            self._waiting[key][1].append(job)
        return new

    def arrived(self, encoded: EncodedMedia) -> list[Job]:
        """Those that have waited for it; unless it has failed, they have it now."""
        _, jobs = self._waiting.pop(encoded.key, (None, []))
        if isinstance(encoded.row, Tensor):
            self._known.put(encoded.key, encoded.row)
            for job in jobs:
                job.rows[encoded.key] = encoded.row
        return jobs

    def forget(self, job: Job) -> None:
        """What nobody else waits for need not be encoded any more."""
        for key in set(job.keys) & self._waiting.keys():
            encode_job, jobs = self._waiting[key]
            if job in jobs:
                jobs.remove(job)
            if not jobs:
                encode_job.is_wanted = False
                del self._waiting[key]
