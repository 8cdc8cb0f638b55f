"""The engine's promises: a request's text depends on that request alone, whoever runs beside it."""

import random
import weakref
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from torch import Tensor

from pandagpt.engine.answer import Answer
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.detokenizer import Detokenizer
from pandagpt.engine.encoder import EncodeJob, Encoder
from pandagpt.engine.engine import Engine, Event
from pandagpt.engine.request import (
    Delta,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    MediaInput,
    SamplingParams,
    TokenLogprob,
)
from pandagpt.engine.runner import Runner
from pandagpt.engine.scheduler import Plan
from pandagpt.errors import ContextLengthExceeded, EngineFailure, PandaError
from pandagpt.media.modality import Modality
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import MediaSlot, Prompt

pytestmark = pytest.mark.usefixtures("is_asynchronous")

GREEDY = SamplingParams(max_tokens=12, temperature=0.0, ignore_eos=True)
SMALL = EngineConfig(max_rows=4, max_step_tokens=16)


@dataclass
class Result:
    """What came out of one choice."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    error: PandaError | None = None


class Bench:
    """An engine and an encoder without threads, stepped by hand."""

    def __init__(self, model: PandaGPT, config: EngineConfig = SMALL) -> None:
        self.runner = Runner(model, config)
        self.engine = Engine(self.runner, config)
        self.encoder = Encoder(model, config.max_encoder_batch)
        self.results: dict[tuple[str, int], Result] = defaultdict(Result)
        self.jobs: list[EncodeJob] = []

    def add(self, *requests: GenerateRequest) -> None:
        for request in requests:
            jobs, events = self.engine.add(request)
            assert not events
            self.jobs += jobs

    def encode(self) -> None:
        for encoded in self.encoder.encode(self.jobs):
            self._take(self.engine.add_media(encoded))
        self.jobs = []

    def step(self) -> None:
        self._take(self.engine.step())

    def run(self, *requests: GenerateRequest) -> dict[tuple[str, int], Result]:
        self.add(*requests)
        self.encode()
        while self.engine.has_work:
            self.step()
        return self.results

    def embed(self, *requests: EmbedRequest) -> list[Delta | Embeddings | PandaError]:
        """What each is answered, in their order."""
        jobs = [job for one in requests for job in self.engine.add(one)[0]]
        events = [
            event
            for encoded in self.encoder.encode(jobs)
            for event in self.engine.add_media(encoded)
        ]
        return [dict(events)[one.request_id] for one in requests]

    def _take(self, events: list[Event]) -> None:
        for request_id, event in events:
            if isinstance(event, PandaError):
                self.results[request_id, 0].error = event
                continue
            assert isinstance(event, Delta)
            result = self.results[request_id, event.index]
            assert result.finish_reason is None, "nothing comes after the end"
            _extend(result, event)


def _extend(result: Result, delta: Delta) -> None:
    result.text += delta.text
    result.token_ids += delta.token_ids
    result.logprobs += [one.logprob for one in delta.logprobs]
    result.finish_reason = delta.finish_reason


def prompt(model: PandaGPT, text: str, num_media: int = 0) -> Prompt:
    ids = [model.tokenizer.bos_id, *model.tokenizer.encode(text)]
    slots = tuple((1 + i, MediaSlot((i,))) for i in range(num_media))
    return Prompt((ids[0], *[0] * num_media, *ids[1:]), slots)


def request(
    model: PandaGPT, name: str, params: SamplingParams = GREEDY, media: tuple[MediaInput, ...] = ()
) -> GenerateRequest:
    return GenerateRequest(name, prompt(model, f"{name} says", len(media)), media, params)


def picture(seed: int, value: float | None = None) -> MediaInput:
    coarse = np.random.default_rng(seed).normal(size=(3, 4, 4))
    array = coarse.repeat(56, axis=1).repeat(56, axis=2).astype(np.float32)
    if value is not None:
        array[:] = value
    return MediaInput(Modality.IMAGE, array, f"image-{seed}-{value}")


def movement(seed: int) -> MediaInput:
    array = np.random.default_rng(seed).normal(size=(6, 2000)).astype(np.float32)
    return MediaInput(Modality.IMU, array, f"imu-{seed}")


def alone(model: PandaGPT, one: GenerateRequest, config: EngineConfig = SMALL) -> list[Result]:
    results = Bench(model, config).run(one)
    return [results[one.request_id, index] for index in range(one.n)]


MIXED = [
    GREEDY,
    replace(GREEDY, max_tokens=3),
    replace(GREEDY, max_tokens=20, presence_penalty=1.5, repetition_penalty=1.2),
    replace(GREEDY, temperature=1.0, seed=5),
    replace(GREEDY, temperature=0.8, top_p=0.9, seed=6, logprobs=2),
    replace(GREEDY, temperature=1.5, top_k=20, seed=7, ignore_eos=False),
    replace(GREEDY, logprobs=0, stop=("a",)),
]


def mixed(model: PandaGPT) -> list[GenerateRequest]:
    texts = ["short", "a somewhat longer prompt that needs more than one step to be read " * 2]
    return [
        replace(request(model, f"r{i}", params), prompt=prompt(model, f"{i} {texts[i % 2]}"))
        for i, params in enumerate(MIXED)
    ]


# -- batched == alone


def test_a_batch_gives_what_each_request_gives_alone(model: PandaGPT) -> None:
    requests = mixed(model)
    together = Bench(model).run(*requests)
    for one in requests:
        expected = alone(model, one)[0]
        result = together[one.request_id, 0]
        assert result.token_ids == expected.token_ids
        assert result.text == expected.text
        assert result.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
        assert result.finish_reason == expected.finish_reason


@pytest.mark.parametrize("every", [1, 3])
def test_it_does_not_matter_who_joins_and_leaves_when(model: PandaGPT, every: int) -> None:
    requests = mixed(model)
    bench = Bench(model)
    for number, one in enumerate(requests):
        bench.add(one)
        for _ in range(every):
            bench.step()
        if number == 3:
            bench.engine.abort(requests[0].request_id)
    results = bench.run()
    for one in requests[1:]:
        assert results[one.request_id, 0].token_ids == alone(model, one)[0].token_ids


@pytest.mark.parametrize("seed", range(4))
def test_a_busy_hour(model: PandaGPT, seed: int) -> None:
    """Everything at once, by lot: joins, aborts, choices, media, long and short prompts."""
    lot = random.Random(seed)
    requests = [by_lot(model, f"r{i}", lot) for i in range(12)]
    bench = Bench(model)
    aborted = set()
    for one in requests:
        bench.add(one)
        for _ in range(lot.randrange(4)):
            bench.encode()
            bench.step()
        if lot.random() < 0.25:
            aborted.add(gone := lot.choice(requests).request_id)
            bench.engine.abort(gone)
    results = bench.run()
    for one in requests:
        if one.request_id not in aborted:
            got = [results[one.request_id, index].token_ids for index in range(one.n)]
            assert got == [result.token_ids for result in alone(model, one)]
    assert is_empty(bench)


def by_lot(model: PandaGPT, name: str, lot: random.Random) -> GenerateRequest:
    media = tuple(
        lot.choice((picture, movement))(lot.randrange(3)) for _ in range(lot.randrange(3))
    )
    params = replace(lot.choice(MIXED), max_tokens=lot.randrange(1, 20))
    text = f"{name} asks {'and asks ' * lot.randrange(12)}"
    return GenerateRequest(
        name, prompt(model, text, len(media)), media, params, n=lot.choice((1, 1, 1, 2, 3))
    )


def test_chunked_prefill_gives_what_whole_prefill_gives(model: PandaGPT) -> None:
    one = replace(request(model, "a"), prompt=prompt(model, "many words in a row " * 8))
    whole = alone(model, one, EngineConfig(max_rows=4, max_step_tokens=500))
    assert len(one.prompt) > 3 * SMALL.max_step_tokens
    assert alone(model, one)[0].token_ids == whole[0].token_ids


def test_a_long_prompt_does_not_stall_the_others(model: PandaGPT) -> None:
    bench = Bench(model)
    bench.add(request(model, "quick", replace(GREEDY, max_tokens=30)))
    bench.step()
    bench.add(replace(request(model, "slow"), prompt=prompt(model, "many words in a row " * 8)))
    while not bench.results["slow", 0].token_ids:
        before = len(bench.results["quick", 0].token_ids)
        bench.step()
        assert len(bench.results["quick", 0].token_ids) == before + 1


# -- media


def test_media_reach_the_answer(model: PandaGPT) -> None:
    first = alone(model, request(model, "a", media=(picture(1),)))
    other = alone(model, request(model, "a", media=(picture(2),)))
    assert first[0].token_ids != other[0].token_ids


def test_cached_equals_uncached(model: PandaGPT) -> None:
    bench = Bench(model)
    media = (picture(1), movement(1))
    fresh = bench.run(request(model, "same", media=media))["same", 0].token_ids
    bench.results.clear()
    bench.add(request(model, "same", media=media))
    assert bench.jobs == []
    assert bench.run()["same", 0].token_ids == fresh


def test_media_of_several_requests_equal_those_of_one(model: PandaGPT) -> None:
    requests = [request(model, f"r{i}", media=(picture(i), movement(i))) for i in range(3)]
    together = Bench(model).run(*requests)
    for one in requests:
        assert together[one.request_id, 0].token_ids == alone(model, one)[0].token_ids


def test_the_same_medium_is_encoded_once_for_all_who_wait(model: PandaGPT) -> None:
    bench = Bench(model)
    bench.add(*[request(model, f"r{i}", media=(picture(1),)) for i in range(3)])
    assert len(bench.jobs) == 1
    assert all(result.finish_reason for result in bench.run().values())


def test_callers_with_different_salts_share_nothing(model: PandaGPT) -> None:
    bench = Bench(model)
    bench.run(replace(request(model, "a", media=(picture(1),)), cache_salt="key one"))
    bench.add(replace(request(model, "b", media=(picture(1),)), cache_salt="key two"))
    assert len(bench.jobs) == 1


def test_a_medium_that_fails_fails_its_request_only(model: PandaGPT) -> None:
    bad = request(model, "bad", media=(picture(1, float("nan")),))
    good = request(model, "good", media=(picture(2),))
    results = Bench(model).run(bad, good)
    assert isinstance(results["bad", 0].error, EngineFailure)
    assert results["good", 0].token_ids == alone(model, good)[0].token_ids


# -- embeddings


def test_embeddings_are_the_encoders_and_shared_with_chats(model: PandaGPT) -> None:
    bench = Bench(model)
    media = (picture(1), movement(1), picture(1))
    (embeddings,) = bench.embed(EmbedRequest("e", media))
    assert isinstance(embeddings, Embeddings)
    expected = [model.embed_media(one.modality, one.array[None])[0].numpy() for one in media]
    np.testing.assert_allclose(embeddings.array, expected, atol=1e-5)
    bench.add(request(model, "chat", media=(picture(1),)))
    assert bench.jobs == []
    assert bench.run()["chat", 0].finish_reason == "length"
    assert is_empty(bench)


def test_cached_embeddings_come_at_once(model: PandaGPT) -> None:
    bench = Bench(model)
    first = bench.embed(EmbedRequest("a", (picture(1),)))
    jobs, events = bench.engine.add(EmbedRequest("b", (picture(1),)))
    assert jobs == []
    assert [event for _, event in events] == first
    assert is_empty(bench)


def test_a_medium_that_fails_fails_its_embeddings_only(model: PandaGPT) -> None:
    bench = Bench(model)
    bad = EmbedRequest("bad", (picture(2), picture(1, float("nan"))))
    good = EmbedRequest("good", (picture(2),))
    failure, embeddings = bench.embed(bad, good)
    assert isinstance(failure, EngineFailure)
    assert isinstance(embeddings, Embeddings)
    assert is_empty(bench)


def test_embeddings_can_be_aborted(model: PandaGPT) -> None:
    bench = Bench(model)
    jobs, _ = bench.engine.add(EmbedRequest("a", (picture(1),)))
    bench.engine.abort("a")
    assert [job.is_wanted for job in jobs] == [False]
    assert is_empty(bench)


# -- seeds and choices


def test_the_same_seed_gives_the_same_text(model: PandaGPT) -> None:
    wishes = replace(GREEDY, temperature=1.0, seed=11)
    first, again = (alone(model, request(model, "a", wishes))[0] for _ in range(2))
    other = alone(model, request(model, "a", replace(wishes, seed=12)))[0]
    assert first.token_ids == again.token_ids
    assert first.token_ids != other.token_ids


def test_choices_differ_and_the_first_is_that_of_n_one(model: PandaGPT) -> None:
    wishes = replace(GREEDY, temperature=1.0, seed=11)
    one = request(model, "a", wishes)
    six = alone(model, replace(one, n=6))
    assert six[0].token_ids == alone(model, one)[0].token_ids
    assert len({tuple(choice.token_ids) for choice in six}) == 6
    assert all(choice.finish_reason == "length" for choice in six)


def test_choices_beside_others_are_as_alone(model: PandaGPT) -> None:
    three = replace(request(model, "a", replace(GREEDY, temperature=1.0, seed=3)), n=3)
    together = Bench(model).run(*mixed(model), three)
    for index, choice in enumerate(alone(model, three)):
        assert together["a", index].token_ids == choice.token_ids


def test_greedy_choices_are_the_same(model: PandaGPT) -> None:
    choices = alone(model, replace(request(model, "a"), n=3))
    assert choices[0].token_ids == choices[1].token_ids == choices[2].token_ids


# -- text, lengths, logprobs


def test_streamed_text_is_the_text_of_all_tokens(model: PandaGPT) -> None:
    result = alone(model, request(model, "a", replace(GREEDY, max_tokens=60)))[0]
    detokenizer = Detokenizer(model.tokenizer)
    assert result.text == "".join(map(detokenizer.feed, result.token_ids)) + detokenizer.flush()
    assert result.text == model.tokenizer.decode(result.token_ids)


def test_the_end_of_the_context_is_the_end(model: PandaGPT) -> None:
    result = alone(model, request(model, "a", replace(GREEDY, max_tokens=10**9)))[0]
    assert result.finish_reason == "length"
    length = len(request(model, "a").prompt)
    assert length + len(result.token_ids) == model.max_model_len


def test_a_prompt_without_room_for_an_answer_is_refused(model: PandaGPT) -> None:
    long = replace(request(model, "a"), prompt=Prompt((1,) * model.max_model_len))
    with pytest.raises(ContextLengthExceeded, match="maximum context length is 256 tokens"):
        Bench(model).add(long)
    fits = replace(long, prompt=Prompt((1,) * (model.max_model_len - 1)))
    assert len(alone(model, fits)[0].token_ids) == 1


def test_logprobs_come_with_every_token(model: PandaGPT) -> None:
    bench = Bench(model)
    bench.add(request(model, "a", replace(GREEDY, logprobs=3)))
    events = []
    while bench.engine.has_work:
        events += bench.engine.step()
    for _, delta in events:
        assert isinstance(delta, Delta)
        (chosen,) = delta.logprobs
        assert (chosen.token_id,) == delta.token_ids
        assert chosen.data == model.tokenizer.token_bytes(chosen.token_id)
        # Greedy: the chosen token is the likeliest one.
        assert [one.logprob for one in chosen.top] == sorted(
            (one.logprob for one in chosen.top), reverse=True
        )
        assert (chosen.top[0].token_id, chosen.top[0].logprob) == (chosen.token_id, chosen.logprob)
        assert len(chosen.top) == 3


# -- leaving, and failing alone


def is_empty(bench: Bench) -> bool:
    held = bench.runner._prompts or bench.runner._states
    return bench.engine.num_requests == 0 and not bench.engine.has_work and not held


def test_an_aborted_request_frees_its_row_at_once(model: PandaGPT) -> None:
    bench = Bench(model, EngineConfig(max_rows=1, max_step_tokens=16))
    bench.add(request(model, "running"), request(model, "queued"), request(model, "next"))
    bench.step()
    bench.engine.abort("queued")
    bench.engine.abort("running")
    bench.step()
    bench.step()
    assert bench.results["next", 0].token_ids
    bench.engine.abort("next")
    assert is_empty(bench)


def test_a_request_can_be_aborted_while_its_media_are_encoded(model: PandaGPT) -> None:
    bench = Bench(model)
    both, one = picture(1), picture(2)
    bench.add(request(model, "a", media=(both, one)), request(model, "b", media=(both,)))
    bench.engine.abort("a")
    assert [job.is_wanted for job in bench.jobs] == [True, False]
    results = bench.run()
    assert "a" not in {name for name, _ in results}
    assert results["b", 0].finish_reason == "length"
    assert is_empty(bench)


def test_a_medium_can_be_asked_for_again_after_an_abort(model: PandaGPT) -> None:
    bench = Bench(model)
    bench.add(request(model, "a", media=(picture(1),)))
    bench.engine.abort("a")
    assert bench.run(request(model, "b", media=(picture(1),)))["b", 0].finish_reason == "length"


def test_an_abort_in_the_middle_of_a_prompt(model: PandaGPT) -> None:
    bench = Bench(model)
    bench.add(replace(request(model, "long"), prompt=prompt(model, "many words " * 20)))
    bench.step()
    bench.engine.abort("long")
    good = request(model, "good")
    assert bench.run(good)["good", 0].token_ids == alone(model, good)[0].token_ids


def break_forward(monkeypatch: pytest.MonkeyPatch, is_guilty: Callable[[Plan], bool]) -> list[int]:
    """The forward pass raises while `is_guilty`; returns the sizes of all passes tried."""
    forward = Runner.forward
    sizes = []

    def broken(runner: Runner, plan: Plan) -> Tensor:
        sizes.append(len(plan.decodes) + len(plan.chunks))
        if is_guilty(plan):
            raise RuntimeError("injected")
        return forward(runner, plan)

    monkeypatch.setattr(Runner, "forward", broken)
    return sizes


def names(plan: Plan) -> set[str]:
    return {s.request_id for s in plan.decodes} | {c.sequence.request_id for c in plan.chunks}


@pytest.mark.parametrize("num_steps_before", [0, 3])
def test_a_request_that_breaks_the_batch_fails_alone(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch, num_steps_before: int
) -> None:
    requests = [request(model, f"r{i}") for i in range(4)]
    expected = {one.request_id: alone(model, one)[0].token_ids for one in requests}
    bench = Bench(model)
    bench.add(*requests)
    for _ in range(num_steps_before):
        bench.step()
    break_forward(monkeypatch, lambda plan: "r1" in names(plan))
    results = bench.run()
    assert isinstance(results["r1", 0].error, EngineFailure)
    assert "injected" not in str(results["r1", 0].error)
    for name in ("r0", "r2", "r3"):
        assert results[name, 0].token_ids == expected[name]
    assert is_empty(bench)


def test_a_fault_that_passes_fails_nobody(model: PandaGPT, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = [request(model, f"r{i}") for i in range(4)]
    sizes = break_forward(monkeypatch, lambda plan: len(sizes) == 2)
    results = Bench(model).run(*requests)
    assert [r.error for r in results.values()] == [None] * 4
    assert sizes[1] > 1
    assert sizes[2] + sizes[3] == sizes[1]


def test_a_row_with_nan_fails_alone_and_leaves_nothing_behind(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, after = request(model, "good"), request(model, "after")
    bad = replace(request(model, "bad"), prompt=prompt(model, "a poisoned prompt " * 4))
    long = replace(request(model, "long"), prompt=prompt(model, "a long prompt " * 8))
    expected = {one.request_id: alone(model, one)[0].token_ids for one in (good, long, after)}
    embed_prompt = PandaGPT.embed_prompt

    def poisoned(self: PandaGPT, one: Prompt, rows: list[Tensor], name: str) -> Tensor:
        return embed_prompt(self, one, rows, name) * (float("nan") if one == bad.prompt else 1)

    monkeypatch.setattr(PandaGPT, "embed_prompt", poisoned)
    bench = Bench(model)
    results = bench.run(good, bad)
    assert isinstance(results["bad", 0].error, EngineFailure)
    # A short answer in the poisoned row, beside a long one: masked positions are read too.
    bench.run(long, after)
    assert is_empty(bench)
    for name, token_ids in expected.items():
        assert results[name, 0].token_ids == token_ids


def test_a_request_that_cannot_be_sampled_fails_alone(model: PandaGPT) -> None:
    bad = request(model, "bad", replace(GREEDY, logit_bias={10**6: 1.0}))
    seeded = request(model, "good", replace(GREEDY, temperature=1.0, seed=4))
    results = Bench(model).run(bad, seeded)
    assert isinstance(results["bad", 0].error, EngineFailure)
    assert results["good", 0].token_ids == alone(model, seeded)[0].token_ids


def test_a_request_whose_text_fails_fails_alone(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = request(model, "good"), request(model, "bad")
    expected = alone(model, good)[0].token_ids
    culprit = alone(model, bad)[0].token_ids[4]
    assert culprit not in expected
    feed = Detokenizer.feed

    def broken(self: Detokenizer, token_id: int) -> str:
        if token_id == culprit:
            raise ValueError("injected")
        return feed(self, token_id)

    monkeypatch.setattr(Detokenizer, "feed", broken)
    results = Bench(model).run(good, bad)
    assert isinstance(results["bad", 0].error, EngineFailure)
    assert len(results["bad", 0].token_ids) == 4
    assert results["good", 0].token_ids == expected


def test_one_failing_choice_ends_its_request_and_no_other(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    three = replace(request(model, "three", replace(GREEDY, temperature=1.0, seed=1)), n=3)
    good = request(model, "good")
    expected = alone(model, good)[0].token_ids

    def is_guilty(plan: Plan) -> bool:
        return any(s.index == 1 and len(s.token_ids) == 3 for s in plan.decodes) or any(
            c.sequence.index == 1 and len(c.sequence.token_ids) == 3 for c in plan.chunks
        )

    break_forward(monkeypatch, is_guilty)
    bench = Bench(model)
    results = bench.run(three, good)
    assert isinstance(results["three", 0].error, EngineFailure)
    assert results["good", 0].token_ids == expected
    assert is_empty(bench)


def test_nothing_is_left_behind(model: PandaGPT) -> None:
    bench = Bench(model)
    bench.run(*mixed(model), request(model, "m", media=(picture(1),)))
    assert is_empty(bench)


def test_penalties_count_what_has_been_said(model: PandaGPT) -> None:
    wishes = replace(GREEDY, logit_bias={7: 80.0}, presence_penalty=100.0)
    first, *rest = alone(model, request(model, "a", wishes))[0].token_ids
    assert first == 7
    assert 7 not in rest


def test_min_tokens_holds_the_end_off(model: PandaGPT) -> None:
    eos_id = model.tokenizer.eos_id
    wishes = replace(GREEDY, logit_bias={eos_id: 100.0}, min_tokens=5, ignore_eos=False)
    result = alone(model, request(model, "a", wishes))[0]
    assert result.token_ids.index(eos_id) == 5
    assert result.finish_reason == "stop"


def test_media_and_prompts_are_let_go_as_soon_as_they_are_read(model: PandaGPT) -> None:
    bench = Bench(model)
    medium = picture(1)
    array = weakref.ref(medium.array)
    bench.add(request(model, "a", media=(medium,)))
    del medium
    bench.encode()
    assert array() is None
    bench.step()
    assert bench.runner._states
    assert not bench.runner._prompts


def test_an_idle_engine_gives_back_what_a_long_answer_took(
    model: PandaGPT, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pandagpt.model.kv_cache.FIRST_CAPACITY", 4)
    bench = Bench(model)
    bench.add(request(model, "a"))
    bench.step()
    assert bench.runner._cache.has_grown
    bench.engine.abort("a")
    assert not bench.runner._cache.has_grown


def test_a_reset_runner_is_as_new(model: PandaGPT) -> None:
    bench = Bench(model)
    bench.add(request(model, "a"))
    bench.step()
    bench.runner.reset()
    assert not bench.runner._states
    assert not bench.runner._cache.slab.any()


# -- the next pass is launched before the last one's tokens are told


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Passes and tokens, as they come."""
    seen = []
    forward, append = Runner.forward, Answer.append

    def noted_forward(self: Runner, plan: Plan) -> Tensor:
        seen.append("pass")
        return forward(self, plan)

    def noted_append(
        self: Answer, token_id: int, logprob: TokenLogprob | None, is_complete: bool
    ) -> Delta:
        seen.append("token")
        return append(self, token_id, logprob, is_complete)

    monkeypatch.setattr(Runner, "forward", noted_forward)
    monkeypatch.setattr(Answer, "append", noted_append)
    return seen


def test_a_device_that_works_by_itself_never_waits_for_text(
    model: PandaGPT, order: list[str], is_asynchronous: bool
) -> None:
    Bench(model).run(request(model, "a", replace(GREEDY, max_tokens=3)))
    if is_asynchronous:
        assert order == ["pass", "pass", "token", "pass", "token", "pass", "token"]
    else:
        assert order == ["pass", "token"] * 3


def test_what_is_in_flight_of_an_aborted_request_is_dropped(model: PandaGPT) -> None:
    (expected,) = alone(model, request(model, "b"))
    bench = Bench(model)
    bench.add(request(model, "a"), request(model, "b"))
    bench.step()
    bench.step()
    bench.engine.abort("a")
    told = len(bench.results["a", 0].token_ids)
    bench.run()
    assert len(bench.results["a", 0].token_ids) == told
    assert bench.results["b", 0] == expected
    assert is_empty(bench)
