"""The prefix cache: whole blocks, found by all that stands before them, within its bytes."""

from dataclasses import dataclass, replace

import pytest

from pandagpt.engine.config import EngineConfig
from pandagpt.engine.prefix_cache import BLOCK_TOKENS, PrefixCache, Trail
from pandagpt.engine.request import GenerateRequest, MediaInput, SamplingParams
from pandagpt.engine.scheduler import Plan
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.prompt import MediaSlot, Prompt
from tests.engine.test_engine import GREEDY, Bench, alone, picture


@dataclass(frozen=True)
class Block:
    number: int
    nbytes: int = 10


def trail(length: int, salt: str = "", first: int | str = 1) -> Trail:
    return Trail(salt, [first, *range(2, length + 1)])


def kept(cache: PrefixCache[Block], one: Trail) -> list[int]:
    return [block.number for block in cache.find(one, len(one.items))]


def test_only_whole_blocks_are_kept_and_found() -> None:
    cache: PrefixCache[Block] = PrefixCache(1000)
    cache.put(trail(40), 40, Block)
    assert kept(cache, trail(40)) == kept(cache, trail(100)) == [0, 1]
    assert cache.find(trail(32), 31) == [Block(0)]
    assert kept(cache, trail(15)) == []


def test_what_is_not_computed_is_not_kept() -> None:
    cache: PrefixCache[Block] = PrefixCache(1000)
    cache.put(trail(40), 31, Block)
    assert kept(cache, trail(40)) == [0]


@pytest.mark.parametrize(
    "other", [trail(40, salt="b"), trail(40, first=9), trail(40, first="1"), trail(40, first="ab")]
)
def test_another_beginning_or_caller_finds_nothing(other: Trail) -> None:
    cache: PrefixCache[Block] = PrefixCache(1000)
    cache.put(trail(40), 40, Block)
    assert kept(cache, other) == []


def test_a_block_is_copied_once() -> None:
    cache: PrefixCache[Block] = PrefixCache(1000)
    copied: list[int] = []

    def save(number: int) -> Block:
        copied.append(number)
        return Block(number)

    for length in (20, 40, 40):
        cache.put(trail(length), length, save)
    assert copied == [0, 1]
    assert cache.num_bytes == 20


def test_the_end_of_the_least_used_goes_first() -> None:
    cache: PrefixCache[Block] = PrefixCache(50)
    cache.put(trail(48), 48, Block)
    cache.put(trail(32, first=7), 32, Block)
    assert kept(cache, trail(48)) == [0, 1, 2]
    cache.put(trail(16, first=8), 16, Block)
    assert cache.num_bytes == 50
    assert kept(cache, trail(48)) == [0, 1, 2]
    assert kept(cache, trail(32, first=7)) == [0]


def test_no_room_is_no_cache() -> None:
    cache: PrefixCache[Block] = PrefixCache(0)
    cache.put(trail(40), 40, Block)
    assert cache.num_bytes == 0
    assert kept(cache, trail(40)) == []


# -- in the engine

FIRST = (1, *range(10, 60))
CONFIG = EngineConfig(max_rows=4, max_step_tokens=200)


class Counted(Bench):
    """Counts the prompt tokens that are computed."""

    num_computed = 0

    def step(self) -> None:
        forward = self.runner.forward

        def counted(plan: Plan) -> object:
            self.num_computed += sum(chunk.length for chunk in plan.chunks)
            return forward(plan)

        self.runner.forward = counted  # ty: ignore[invalid-assignment]
        super().step()
        self.runner.forward = forward


def ask(
    name: str,
    ids: tuple[int, ...],
    params: SamplingParams = GREEDY,
    media: tuple[MediaInput, ...] = (),
    salt: str = "",
) -> GenerateRequest:
    slots = tuple((5 + i, MediaSlot((i,))) for i in range(len(media)))
    return GenerateRequest(name, Prompt(ids, slots), media, params, cache_salt=salt)


def answer(bench: Bench, request: GenerateRequest) -> list[int]:
    return bench.run(request)[request.request_id, 0].token_ids


def second_turn(bench: Bench, first: GenerateRequest) -> tuple[int, ...]:
    return (*FIRST, *answer(bench, first), 70, 71, 72)


def test_the_second_turn_computes_what_is_new_and_says_the_same(model: PandaGPT) -> None:
    bench = Counted(model, CONFIG)
    turn = ask("two", second_turn(bench, ask("one", FIRST)))
    bench.num_computed = 0
    assert answer(bench, turn) == alone(model, turn, CONFIG)[0].token_ids
    # All but the last token of the first answer is known, in whole blocks.
    known = (len(FIRST) + GREEDY.max_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS
    assert bench.num_computed == len(turn.prompt) - known


def test_a_prompt_repeated_is_computed_but_for_its_end(model: PandaGPT) -> None:
    bench = Counted(model, CONFIG)
    first = answer(bench, ask("one", FIRST))
    bench.num_computed = 0
    assert answer(bench, ask("two", FIRST)) == first
    assert bench.num_computed == len(FIRST) - 48


def test_other_media_in_the_same_place_are_another_beginning(model: PandaGPT) -> None:
    bench = Counted(model, CONFIG)
    answer(bench, ask("one", FIRST, media=(picture(1),)))
    for seed, expected in ((2, len(FIRST)), (1, len(FIRST) - 48)):
        bench.num_computed = 0
        one = ask(f"two-{seed}", FIRST, media=(picture(seed),))
        assert answer(bench, one) == alone(model, one, CONFIG)[0].token_ids
        assert bench.num_computed == expected


def test_callers_share_nothing(model: PandaGPT) -> None:
    bench = Counted(model, CONFIG)
    answer(bench, ask("one", FIRST, salt="a"))
    bench.num_computed = 0
    answer(bench, ask("two", FIRST, salt="b"))
    assert bench.num_computed == len(FIRST)


def test_choices_of_one_request_share_and_keep(model: PandaGPT) -> None:
    sampled = replace(GREEDY, temperature=1.0, seed=3)
    several = replace(ask("three", FIRST, sampled), n=3)
    expected = [result.token_ids for result in alone(model, several, CONFIG)]
    bench = Counted(model, CONFIG)
    answer(bench, ask("one", FIRST))
    results = bench.run(several)
    assert [results["three", i].token_ids for i in range(3)] == expected


def test_what_was_cached_is_told_once(model: PandaGPT) -> None:
    bench = Bench(model, CONFIG)
    answer(bench, ask("one", FIRST))
    bench.add(ask("two", FIRST))
    events = []
    while bench.engine.has_work:
        events += bench.engine.step()
    cached = [getattr(delta, "cached_tokens", None) for _, delta in events]
    assert cached == [48] + [0] * (GREEDY.max_tokens - 1)


def test_the_cache_stays_within_its_bytes(model: PandaGPT) -> None:
    config = replace(CONFIG, prefix_cache_bytes=40_000)
    bench = Bench(model, config)
    for i in range(8):
        ids = (1, 100 + i, *FIRST[2:])
        assert answer(bench, ask(f"{i}", ids)) == alone(model, ask("x", ids), config)[0].token_ids
        assert bench.engine._prefixes.num_bytes <= 40_000
    assert bench.engine._prefixes.num_bytes > 20_000
