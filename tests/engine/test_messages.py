"""Every message of both directions to bytes and back, and nothing else accepted."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.messages import (
    Abort,
    Add,
    Embed,
    Events,
    Failed,
    Failure,
    Message,
    Ready,
    Start,
    from_frame,
    to_frame,
)
from pandagpt.engine.request import (
    Delta,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    Grammar,
    MediaInput,
    SamplingParams,
    TokenLogprob,
)
from pandagpt.engine.stats import Stats
from pandagpt.errors import (
    CheckpointError,
    EngineFailure,
    InvalidMedia,
    OperatorError,
    Overloaded,
    PandaError,
    ShuttingDown,
)
from pandagpt.frames import Frame
from pandagpt.media.modality import Modality
from pandagpt.model.prompt import MediaSlot, Prompt

ids = st.integers(0, 50_000)
texts = st.text(max_size=20)
numbers = st.floats(allow_nan=False)
id_tuples = st.lists(ids, max_size=5).map(tuple)
text_tuples = st.lists(texts, max_size=3).map(tuple)
slots = st.tuples(ids, st.builds(MediaSlot, id_tuples))
prompts = st.builds(Prompt, id_tuples, st.lists(slots, max_size=3).map(tuple))
params = st.builds(
    SamplingParams,
    max_tokens=ids,
    temperature=numbers,
    logit_bias=st.dictionaries(ids, numbers, max_size=3),
    seed=st.none() | st.integers(-(2**63), 2**63 - 1),
    stop=text_tuples,
    grammar=st.none() | st.builds(Grammar, texts),
    stop_token_ids=id_tuples,
    logprobs=st.none() | ids,
)
requests = st.builds(GenerateRequest, texts, prompts, st.just(()), params, ids, texts)
top_logprobs = st.builds(TokenLogprob, ids, texts, st.binary(max_size=5), numbers)
logprobs = st.builds(
    TokenLogprob,
    *(ids, texts, st.binary(max_size=5), numbers),
    st.lists(top_logprobs, max_size=2).map(tuple),
)
deltas = st.builds(
    Delta,
    *(ids, texts, id_tuples, st.lists(logprobs, max_size=2).map(tuple)),
    st.sampled_from([None, "stop", "length"]),
    ids,
)
embeddings = st.builds(Embeddings, ids, st.binary(max_size=8))
failures = st.builds(
    Failure, st.sampled_from(["EngineFailure", "Overloaded"]), texts, st.none() | st.integers(0, 99)
)
messages = st.one_of(
    st.builds(
        Start,
        texts,
        texts,
        texts,
        texts,
        st.just(EngineConfig(max_model_len=9)),
        st.none() | ids,
        st.just("json"),
    ),
    st.builds(Add, requests),
    st.builds(Embed, st.builds(EmbedRequest, texts, st.just(()), texts)),
    st.builds(Abort, texts),
    st.builds(Ready, ids, ids, texts, texts),
    st.builds(Failed, failures),
    st.builds(
        Stats,
        *(ids, ids, numbers, st.lists(numbers, max_size=3)),
        st.lists(st.tuples(st.sampled_from(Modality), numbers), max_size=3),
        *[ids] * 4,
    ),
    st.builds(
        Events,
        st.lists(st.tuples(texts, deltas), max_size=3).map(tuple),
        st.lists(st.tuples(texts, failures), max_size=3).map(tuple),
        st.lists(st.tuples(texts, embeddings), max_size=2).map(tuple),
    ),
)


@given(messages)
def test_there_and_back(message: Message) -> None:
    assert from_frame(to_frame(message)) == message


def check_media(received: tuple[MediaInput, ...], sent: tuple[MediaInput, ...]) -> None:
    for ours, theirs in zip(received, sent, strict=True):
        assert (ours.modality, ours.digest) == (theirs.modality, theirs.digest)
        assert ours.array.dtype == theirs.array.dtype
        assert np.array_equal(ours.array, theirs.array)


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_arrays_travel_beside_the_header(dtype: str) -> None:
    arrays = [np.arange(24).reshape(2, 3, 4).astype(dtype), np.zeros((0, 2), dtype)]
    arrays.append(arrays[0].transpose(2, 0, 1))
    media = tuple(
        MediaInput(Modality.DEPTH, array, f"digest {i}") for i, array in enumerate(arrays)
    )
    request = GenerateRequest("a", Prompt((1, 2)), media, SamplingParams(max_tokens=1))
    for message in (Add(request), Embed(EmbedRequest("b", media))):
        frame = to_frame(message)
        assert [len(buffer) for buffer in frame.buffers] == [array.nbytes for array in arrays]
        frame = Frame(frame.kind, frame.header, [bytes(buffer) for buffer in frame.buffers])
        received = from_frame(frame)
        assert isinstance(received, type(message))
        assert replace(received.request, media=()) == replace(message.request, media=())
        check_media(received.request.media, media)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CheckpointError("is cut short"), CheckpointError),
        (OperatorError("no device"), OperatorError),
        (Overloaded("full"), Overloaded),
        (EngineFailure("broken"), EngineFailure),
        (InvalidMedia("never comes from an engine"), EngineFailure),
    ],
)
def test_errors_keep_class_and_words(error: PandaError, kind: type[PandaError]) -> None:
    message = from_frame(to_frame(Failed(Failure.of(error))))
    assert isinstance(message, Failed)
    assert type(message.failure.error) is kind
    assert message.failure.error.message == error.message


@pytest.mark.parametrize("error", [Overloaded("full"), Overloaded("full", 7), ShuttingDown()])
def test_when_to_try_again_arrives(error: Overloaded) -> None:
    message = from_frame(to_frame(Events.of([("a", error)])))
    assert isinstance(message, Events)
    ((_, told),) = message
    assert isinstance(told, Overloaded)
    assert told.retry_after_seconds == error.retry_after_seconds


def test_events_of_one_request_keep_their_order() -> None:
    error = EngineFailure("broken")
    given = [("a", Delta(0, "x")), ("b", error), ("a", Delta(0, "y")), ("a", Overloaded("late"))]
    message = from_frame(to_frame(Events.of(given)))
    assert isinstance(message, Events)
    told = [event for request_id, event in message if request_id == "a"]
    assert told[:2] == [Delta(0, "x"), Delta(0, "y")]
    assert isinstance(told[2], Overloaded)


def test_a_step_of_many_streams_is_small() -> None:
    names = [f"chatcmpl-{number:032x}/{number:032x}" for number in range(32)]
    events = Events.of([(name, Delta(0, " word", (513,))) for name in names])
    assert len(to_frame(events).header) < 6000


@given(st.integers(0, 5), st.binary(max_size=50))
def test_strange_bytes_are_refused(kind: int, data: bytes) -> None:
    try:
        message = from_frame(Frame(kind, data))
    except (msgspec.MsgspecError, ValueError):
        return
    assert from_frame(to_frame(message)) == message
