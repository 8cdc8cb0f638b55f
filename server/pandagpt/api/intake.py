"""A validated chat request in, what the engine needs out: prompt, decoded media.

Decoding and long tokenising run in a small pool of threads, off the event loop. How many
requests may be here at once is bounded, more are refused at once; and so is what their
media take in memory, for which requests wait.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from pandagpt.api.answer_form import AnswerForm, check_form
from pandagpt.api.conversation import Conversation, MediaSource, read_messages
from pandagpt.api.room import Room
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.serving import ServedModel
from pandagpt.api.source import decode_data, read_url
from pandagpt.api.tools import Toolbox
from pandagpt.engine.request import MediaInput, check_length
from pandagpt.errors import ContextLengthExceeded, Overloaded, RequestError, UnsupportedContentType
from pandagpt.media.limits import MediaLimits
from pandagpt.media.loader import array_bytes, digest, load, modality_of
from pandagpt.model.prompt import Prompt

# No piece of a SentencePiece vocabulary is as long, so more characters cannot fit.
MAX_CHARS_PER_TOKEN = 64
# Tokenising this much takes about a millisecond, as much as a hop to a thread under load.
MAX_INLINE_CHARS = 8_000

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class EngineInput:
    prompt: Prompt
    media: tuple[MediaInput, ...]

    @property
    def slots_by_modality(self) -> Counter[str]:
        """Prompt slots that each kind has a part in; one slot may be shared by several kinds."""
        kinds = (
            {self.media[index].modality.value for index in slot.media}
            for _, slot in self.prompt.slots
        )
        return Counter(kind for slot_kinds in kinds for kind in slot_kinds)


class Intake:
    def __init__(
        self,
        limits: MediaLimits,
        max_media: int,
        max_pending: int,
        max_decoded_bytes: int,
        num_threads: int = 2,
    ) -> None:
        self._limits = limits
        self._max_media = max_media
        self._max_pending = max_pending
        self._num_pending = 0
        self._room = Room(max_decoded_bytes)
        self._pool = ThreadPoolExecutor(num_threads, thread_name_prefix="intake")

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    @asynccontextmanager
    async def read(self, chat: ChatRequest, model: ServedModel) -> AsyncGenerator[EngineInput]:
        """To be left once the engine has encoded the media: until then they take up room,
        here and, once sent, in the engine's process again.

        Raises Overloaded and every RequestError that media or the prompt can cause.
        """
        async with AsyncExitStack() as stack:
            with self._pending():
                toolbox = Toolbox.of(chat)
                instruction = toolbox.instruction if toolbox else ""
                conversation = read_messages(chat.messages, self._max_media, instruction)
                _refuse_unread(conversation.media, model)
                # The text first: what is too long anyway must not cost the decoding of its media.
                prompt = await self._prompt(conversation, chat, model)
                if AnswerForm.of(chat).grammar is not None:
                    await self._run(check_form, chat, model.tokenizer, model.vocab_size)
                num_bytes = sum(array_bytes(source.modality) for source in conversation.media)
                await stack.enter_async_context(self._room.held(num_bytes))
                media = await self._load_all(conversation.media)
            yield EngineInput(prompt, media)

    @contextmanager
    def _pending(self) -> Generator[None]:
        if self._num_pending >= self._max_pending:
            raise Overloaded("The server is reading as many requests as it can. Try again soon.")
        self._num_pending += 1
        try:
            yield
        finally:
            self._num_pending -= 1

    async def _load_all(self, sources: Sequence[MediaSource]) -> tuple[MediaInput, ...]:
        """One bad medium spares the pool those behind it."""
        loading = [asyncio.create_task(self._run(_load, s, self._limits)) for s in sources]
        try:
            return tuple(await asyncio.gather(*loading))
        finally:
            for task in loading:
                task.cancel()

    async def _prompt(
        self, conversation: Conversation, chat: ChatRequest, model: ServedModel
    ) -> Prompt:
        num_chars = conversation.num_chars
        if num_chars > model.max_model_len * MAX_CHARS_PER_TOKEN:
            at_least = f"at least {num_chars // MAX_CHARS_PER_TOKEN}"
            raise ContextLengthExceeded.of_messages(at_least, model.max_model_len)
        arguments = (conversation.turns, chat.fusion or model.fusion)
        if num_chars > MAX_INLINE_CHARS:
            prompt = await self._run(model.prompt, *arguments)
        else:
            prompt = model.prompt(*arguments)
        check_length(prompt, model.max_model_len)
        return prompt

    async def _run(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _refuse_unread(media: Sequence[MediaSource], model: ServedModel) -> None:
    if media and not model.modalities:
        message = f"The model '{model.id}' reads text only; send messages without media."
        raise UnsupportedContentType(message, media[0].param)


def _load(source: MediaSource, limits: MediaLimits) -> MediaInput:
    try:
        data = _read(source, limits.max_media_bytes)
        modality = source.modality or modality_of(data)
        array = load(modality, data, source.options, limits)
    except RequestError as error:
        raise error.at(source.param) from None
    return MediaInput(modality, array, digest(modality, data, source.options))


def _read(source: MediaSource, max_bytes: int) -> bytes:
    read = decode_data if source.is_data else read_url
    return read(source.text, max_bytes)
