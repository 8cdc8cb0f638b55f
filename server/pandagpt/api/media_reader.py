"""A request's media, wherever their bytes are, to what the engine reads.

Bytes come from the request itself, an upload, another host or the server's disk; arrays from a
decoder's process, for which a thread here waits.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pandagpt.api.conversation import MediaSource
from pandagpt.api.fetch import Fetcher
from pandagpt.api.local_file import read_local
from pandagpt.api.source import decode_data, read_url, scheme_of
from pandagpt.engine.request import MediaInput
from pandagpt.errors import RequestError, UnknownFile
from pandagpt.media.decoder import DecoderPool
from pandagpt.media.loader import digest

ReadFile = Callable[[str, str], bytes]
"""An uploaded file's id and the caller's name to its bytes; may block. Raises UnknownFile."""


class MediaReader:
    """`local_folder`, if any, is resolved: files in it may be named by URL."""

    def __init__(
        self,
        decoders: DecoderPool,
        fetcher: Fetcher,
        read_file: ReadFile,
        local_folder: Path | None = None,
    ) -> None:
        self._decoders = decoders
        self._fetcher = fetcher
        self._read_file = read_file
        self._local_folder = local_folder
        self._pool = ThreadPoolExecutor(decoders.num_decoders, thread_name_prefix="media")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def read_all(self, sources: Sequence[MediaSource], caller: str) -> tuple[MediaInput, ...]:
        """One bad medium spares the pool those behind it. Uploads are those of `caller`."""
        reading = [asyncio.create_task(self._read(source, caller)) for source in sources]
        try:
            return tuple(await asyncio.gather(*reading))
        finally:
            for task in reading:
                task.cancel()

    async def _read(self, source: MediaSource, caller: str) -> MediaInput:
        try:
            fetched = await self._fetched(source)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._pool, self._load, source, caller, fetched)
        except UnknownFile as error:
            raise error.at(f"{source.param}.file_id") from None
        except RequestError as error:
            raise error.at(source.param) from None

    async def _fetched(self, source: MediaSource) -> bytes | None:
        if source.file_id or scheme_of(source.text) not in ("http", "https"):
            return None
        return await self._fetcher.fetch(str(source.text))

    # -- on a thread of the pool

    def _load(self, source: MediaSource, caller: str, fetched: bytes | None) -> MediaInput:
        data = self._bytes(source, caller) if fetched is None else fetched
        modality, array = self._decoders.load(source.modality, data, source.options)
        return MediaInput(modality, array, digest(modality, data, source.options))

    def _bytes(self, source: MediaSource, caller: str) -> bytes:
        max_bytes = self._decoders.limits.max_media_bytes
        if source.file_id:
            return self._read_file(source.file_id, caller)
        if self._local_folder and scheme_of(source.text) == "file":
            return read_local(str(source.text), self._local_folder, max_bytes)
        read = decode_data if source.is_data else read_url
        return read(source.text, max_bytes)
