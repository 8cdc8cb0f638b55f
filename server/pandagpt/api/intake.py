"""A validated request in, what the engine needs out: prompt, decoded media.

Long tokenising runs in a small pool of threads, off the event loop. How many requests may be here
at once is bounded, more are refused at once; and so is what their media take in memory, for which
requests wait.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from pandagpt.api.answer_form import RAW, AnswerForm
from pandagpt.api.conversation import Conversation, MediaSource, read_messages
from pandagpt.api.embedding import Item, Source, TextSource
from pandagpt.api.media_reader import MediaReader
from pandagpt.api.raw_prompt import raw_prompt
from pandagpt.api.room import Room
from pandagpt.api.schemas.chat import ChatRequest
from pandagpt.api.schemas.completion import CompletionRequest
from pandagpt.api.serving import ServedModel
from pandagpt.api.tools import Toolbox
from pandagpt.engine.grammar_checker import GrammarChecker
from pandagpt.engine.request import MediaInput, check_length
from pandagpt.errors import (
    ContextLengthExceeded,
    InvalidValue,
    Overloaded,
    RequestError,
    UnsupportedContentType,
)
from pandagpt.media.loader import array_bytes
from pandagpt.media.modality import Modality
from pandagpt.media.text import TextTokenizer
from pandagpt.model.prompt import Prompt

NUM_THREADS = 2
# No piece of a SentencePiece vocabulary is as long, so more characters cannot fit.
MAX_CHARS_PER_TOKEN = 64
# Tokenising this much takes about a millisecond, as much as a hop to a thread under load.
MAX_INLINE_CHARS = 8_000
# Each turn costs some 15 microseconds, however short.
MAX_INLINE_TURNS = 64

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class EngineInput:
    prompt: Prompt
    media: tuple[MediaInput, ...]
    form: AnswerForm

    @property
    def slots_by_modality(self) -> Counter[str]:
        """Prompt slots that each kind has a part in; one slot may be shared by several kinds."""
        kinds = (
            {self.media[index].modality.value for index in slot.media}
            for _, slot in self.prompt.slots
        )
        return Counter(kind for slot_kinds in kinds for kind in slot_kinds)


@dataclass(frozen=True, slots=True)
class TextInput:
    """A text as the engine embeds it, and how many tokens it has."""

    input: MediaInput
    num_tokens: int


@dataclass(frozen=True, slots=True)
class EmbedInput:
    media: tuple[MediaInput, ...]
    num_tokens: int


class Intake:
    def __init__(
        self,
        reader: MediaReader,
        max_media: int,
        max_pending: int,
        max_decoded_bytes: int,
        max_queue_seconds: float,
    ) -> None:
        self._reader = reader
        self._max_media = max_media
        self._max_pending = max_pending
        self._num_pending = 0
        self._grammars = GrammarChecker()
        # Of its own: grammars wait for each other, and must not keep everything else waiting.
        self._grammar_pool = ThreadPoolExecutor(1, thread_name_prefix="grammars")
        self._room = Room(max_decoded_bytes, max_queue_seconds)
        self._pool = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="intake")

    def close(self) -> None:
        for pool in (self._pool, self._grammar_pool):
            pool.shutdown(wait=False, cancel_futures=True)
        self._reader.close()
        self._grammars.close()

    @asynccontextmanager
    async def read(
        self, chat: ChatRequest, model: ServedModel, caller: str
    ) -> AsyncGenerator[EngineInput]:
        """To be left once the engine has encoded the media: until then they take up room,
        here and, once sent, in the engine's process again. Uploads are those of `caller`.

        Raises Overloaded and every RequestError that media or the prompt can cause.
        """
        async with AsyncExitStack() as stack:
            with self._pending():
                conversation = await self._conversation(chat, model)
                # The text first: what is too long anyway must not cost the decoding of its media.
                prompt = await self._prompt(conversation, chat, model)
                check_length(prompt, model.max_model_len)
                form = AnswerForm.of(chat)
                if form.grammar is not None:
                    await self._check_form(form, model)
                num_bytes = sum(array_bytes(source.modality) for source in conversation.media)
                await stack.enter_async_context(self._room.held(num_bytes))
                media = await self._reader.read_all(conversation.media, caller)
            yield EngineInput(prompt, media, form)

    async def prompt(self, chat: ChatRequest, model: ServedModel, *, opens_answer: bool) -> Prompt:
        """As `read` makes it, but of any length; media have their slots and are not read."""
        with self._pending():
            conversation = await self._conversation(chat, model)
            return await self._prompt(conversation, chat, model, opens_answer=opens_answer)

    async def token_ids(self, text: str, model: ServedModel, *, has_special: bool) -> list[int]:
        tokenizer = model.tokenizer
        encode = tokenizer.encode_with_special if has_special else tokenizer.encode
        with self._pending():
            return await self._tokenized(len(text), model, partial(encode, text))

    @asynccontextmanager
    async def read_sources(
        self, items: Sequence[Item], tokenizer: TextTokenizer, caller: str, *, is_cut: bool
    ) -> AsyncGenerator[EmbedInput]:
        """Texts and media of all items, in order; to be left as `read`. Texts may be `is_cut`."""
        sources = [source for item in items for source in item]
        media = [source for source in sources if isinstance(source, MediaSource)]
        num_bytes = sum(array_bytes(source.modality) for source in media)
        self._refuse_too_many(num_bytes)
        async with AsyncExitStack() as stack:
            with self._pending():
                read = partial(_read_texts, sources, tokenizer, is_cut=is_cut)
                texts = await self._run(read)
                await stack.enter_async_context(self._room.held(num_bytes))
                loaded = iter(await self._reader.read_all(media, caller))
            inputs = [texts[i].input if i in texts else next(loaded) for i in range(len(sources))]
            num_tokens = len(media) + sum(text.num_tokens for text in texts.values())
            yield EmbedInput(tuple(inputs), num_tokens)

    async def read_prompts(
        self, asked: CompletionRequest, model: ServedModel
    ) -> list[tuple[EngineInput, str]]:
        """Raw prompts without a template, and their texts. Raises Overloaded, InvalidValue or
        ContextLengthExceeded."""
        with self._pending():
            return [
                await self._raw_prompt(prompt, index, asked, model)
                for index, prompt in enumerate(asked.prompt)
            ]

    async def _raw_prompt(
        self, given: str | list[int], index: int, asked: CompletionRequest, model: ServedModel
    ) -> tuple[EngineInput, str]:
        read = partial(raw_prompt, given, model, begins=asked.add_special_tokens)
        try:
            prompt, text = await self._tokenized(len(given), model, read)
            check_length(prompt, model.max_model_len)
        except RequestError as error:
            is_alone = len(asked.prompt) == 1
            raise error.at("prompt" if is_alone else f"prompt[{index}]") from None
        return EngineInput(prompt, (), RAW), text

    def _refuse_too_many(self, num_bytes: int) -> None:
        limit = self._room.num_bytes
        if num_bytes > limit:
            message = f"The media take {num_bytes} bytes once decoded; the limit is {limit}."
            raise InvalidValue(f"{message} Send them in several requests.", "input")

    @contextmanager
    def _pending(self) -> Generator[None]:
        if self._num_pending >= self._max_pending:
            raise Overloaded("The server is reading as many requests as it can. Try again soon.")
        self._num_pending += 1
        try:
            yield
        finally:
            self._num_pending -= 1

    async def _conversation(self, chat: ChatRequest, model: ServedModel) -> Conversation:
        toolbox = Toolbox.of(chat)
        instruction = toolbox.instruction if toolbox else ""
        read = partial(read_messages, chat.messages, self._max_media, instruction)
        is_long = len(chat.messages) > MAX_INLINE_TURNS
        conversation = await self._run(read) if is_long else read()
        _refuse_unread(conversation.media, model)
        return conversation

    async def _prompt(
        self,
        conversation: Conversation,
        chat: ChatRequest,
        model: ServedModel,
        *,
        opens_answer: bool = True,
    ) -> Prompt:
        turns, fusion = conversation.turns, chat.fusion or model.fusion
        render = partial(model.prompt, turns, fusion, opens_answer=opens_answer)
        return await self._tokenized(conversation.num_chars, model, render, len(turns))

    async def _tokenized(
        self,
        num_chars: int,
        model: ServedModel,
        tokenize: Callable[[], Result],
        num_turns: int = 1,
    ) -> Result:
        """Refuses what is far too long before it is tokenised, which takes its time."""
        if num_chars > model.max_model_len * MAX_CHARS_PER_TOKEN:
            at_least = f"at least {num_chars // MAX_CHARS_PER_TOKEN}"
            raise ContextLengthExceeded.of_messages(at_least, model.max_model_len)
        is_long = num_chars > MAX_INLINE_CHARS or num_turns > MAX_INLINE_TURNS
        return await self._run(tokenize) if is_long else tokenize()

    async def _check_form(self, form: AnswerForm, model: ServedModel) -> None:
        check = partial(
            self._grammars.check, tokenizer=model.tokenizer, vocab_size=model.vocab_size
        )
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._grammar_pool, form.check, check)

    async def _run(self, function: Callable[..., Result], *arguments: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)


def _refuse_unread(media: Sequence[MediaSource], model: ServedModel) -> None:
    if media and not model.modalities:
        message = f"The model '{model.id}' reads text only; send messages without media."
        raise UnsupportedContentType(message, media[0].param)


def _read_texts(
    sources: Sequence[Source], tokenizer: TextTokenizer, *, is_cut: bool
) -> dict[int, TextInput]:
    """By their places among the sources. Raises ContextLengthExceeded unless they are cut."""
    texts = {}
    for index, source in enumerate(sources):
        if isinstance(source, TextSource):
            try:
                texts[index] = _read_text(source.text, tokenizer, is_cut=is_cut)
            except RequestError as error:
                raise error.at(source.param) from None
    return texts


def _read_text(text: str, tokenizer: TextTokenizer, *, is_cut: bool) -> TextInput:
    limit = tokenizer.context_length
    # What is longer than this has more tokens in any case, and would only take time.
    text = text[: (limit + 1) * MAX_CHARS_PER_TOKEN]
    row = tokenizer.encode(text, "keep_end" if is_cut else "refuse")
    name = f"text-{hashlib.sha256(row.tobytes()).hexdigest()}"
    return TextInput(MediaInput(Modality.TEXT, row, name), min(len(tokenizer.ids(text)), limit))
