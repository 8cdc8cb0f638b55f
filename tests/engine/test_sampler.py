"""Sampling parameters against their formulas, and rows that do not disturb each other."""

import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from pandagpt.engine import sampler
from pandagpt.engine.request import SamplingParams
from pandagpt.engine.sampler import SamplerState, new_state, sample

VOCAB = 50
EOS = 2


def logits(rows: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, VOCAB, generator=torch.Generator().manual_seed(seed)) * 3


def state(
    params: SamplingParams, prompt: tuple[int, ...] = (), output: tuple[int, ...] = ()
) -> SamplerState:
    end_ids = (EOS, *params.stop_token_ids)
    result = new_state(params, end_ids, prompt, VOCAB, torch.device("cpu"))
    for token_id in output:
        result.observe(token_id)
    return result


def params(**values: object) -> SamplingParams:
    return SamplingParams(max_tokens=9, **values)  # ty: ignore[invalid-argument-type]


def draws(row: Tensor, wishes: SamplingParams, num: int = 4000) -> Counter[int | None]:
    """The distribution of a row, read off at evenly spaced numbers."""
    uniforms = [(i + 0.5) / num for i in range(num)]
    sampled = sample(row.expand(num, -1), [state(wishes)] * num, uniforms)
    return Counter(sampled.token_ids)


def allowed(row: Tensor, wishes: SamplingParams) -> set[int | None]:
    return set(draws(row, wishes))


def likeliest(row: Tensor, num: int) -> set[int]:
    return set(row.topk(num).indices.tolist())


def test_greedy_takes_the_likeliest() -> None:
    rows = logits(4)
    sampled = sample(rows, [state(params(temperature=0.0))] * 4, [0.9] * 4)
    assert sampled.token_ids == rows.argmax(-1).tolist()
    assert sampled.logprobs == [None] * 4


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_draws_follow_the_softmax(temperature: float) -> None:
    row = logits(1)[0]
    shares = (row / temperature).softmax(-1)
    counts = draws(row, params(temperature=temperature))
    for token_id in range(VOCAB):
        assert counts[token_id] / 4000 == pytest.approx(shares[token_id].item(), abs=2 / 4000)


@pytest.mark.parametrize("top_k", [1, 3, VOCAB, 10 * VOCAB])
def test_top_k(top_k: int) -> None:
    row = logits(1)[0] / 10
    assert allowed(row, params(top_k=top_k)) == likeliest(row, min(top_k, VOCAB))


@pytest.mark.parametrize("top_p", [0.0, 0.2, 0.5, 0.9])
def test_top_p_is_the_fewest_that_reach_it(top_p: float) -> None:
    row = logits(1)[0] / 3
    shares = row.softmax(-1).sort(descending=True)
    num = 1
    while shares.values[:num].sum() < top_p:
        num += 1
    assert allowed(row, params(top_p=top_p)) == set(shares.indices[:num].tolist())


def test_top_p_is_of_what_top_k_left() -> None:
    row = torch.full((VOCAB,), -20.0)
    row[:4] = torch.tensor([0.4, 0.3, 0.2, 0.1]).log()
    assert allowed(row, params(top_p=0.55)) == {0, 1}
    assert allowed(row, params(top_p=0.55, top_k=2)) == {0}


def test_min_p_is_relative_to_the_likeliest() -> None:
    row = logits(1)[0]
    shares = row.softmax(-1)
    kept = {i for i in range(VOCAB) if shares[i] >= 0.1 * shares.max()}
    assert allowed(row, params(min_p=0.1)) == kept
    assert allowed(row, params(min_p=1.0)) == likeliest(row, 1)


def test_penalties_follow_their_formulas() -> None:
    row, prompt, output = logits(1)[0], (3, 4), (4, 5, 5, 5)
    wishes = params(
        temperature=0.0, presence_penalty=0.7, frequency_penalty=0.4, repetition_penalty=1.5
    )
    expected = row.tolist()
    for token_id in {*prompt, *output}:
        value = expected[token_id]
        expected[token_id] = value / 1.5 if value > 0 else value * 1.5
    for token_id, count in Counter(output).items():
        expected[token_id] -= 0.7 + 0.4 * count
    # The adjusted row is read off by raising one token after the other to the top.
    for token_id in (3, 4, 5, 6):
        gap = max(v for i, v in enumerate(expected) if i != token_id) - expected[token_id]
        for shift, wins in ((gap + 1e-3, True), (gap - 1e-3, False)):
            biased = SamplingParams(
                max_tokens=9,
                temperature=0.0,
                presence_penalty=wishes.presence_penalty,
                frequency_penalty=wishes.frequency_penalty,
                repetition_penalty=wishes.repetition_penalty,
                logit_bias={token_id: shift},
            )
            sampled = sample(row[None], [state(biased, prompt, output)], [0.0])
            assert (sampled.token_ids == [token_id]) is wins


def test_logit_bias_forces_and_forbids() -> None:
    row = logits(1)
    best = int(row.argmax())
    forced = params(temperature=0.0, logit_bias={7: 100.0})
    forbidden = params(temperature=0.0, logit_bias={best: -100.0})
    assert sample(row, [state(forced)], [0.5]).token_ids == [7]
    assert sample(row, [state(forbidden)], [0.5]).token_ids != [best]


def test_no_end_token_before_min_tokens() -> None:
    row = torch.zeros(1, VOCAB)
    row[0, EOS], row[0, 9] = 50.0, 40.0
    wishes = params(temperature=0.0, min_tokens=2, stop_token_ids=(9,))
    first = sample(row, [state(wishes, output=(1,))], [0.5]).token_ids[0]
    assert first not in (EOS, 9)
    assert sample(row, [state(wishes, output=(1, 1))], [0.5]).token_ids == [EOS]


MIXED = [
    params(temperature=0.0),
    params(temperature=0.7),
    params(temperature=0.7, top_p=0.8),
    params(top_k=5, min_p=0.05),
    params(temperature=0.0, presence_penalty=1.0),
    params(frequency_penalty=0.5, top_p=0.9, logprobs=2),
    params(logit_bias={3: 5.0}, logprobs=0),
    params(temperature=0.0, min_tokens=3, logprobs=5),
]


def test_a_row_in_a_mixed_batch_is_as_alone() -> None:
    rows = logits(len(MIXED))
    uniforms = [0.1 + 0.1 * i for i in range(len(MIXED))]
    states = [state(p, (1, 2), (3,)) for p in MIXED]
    together = sample(rows, states, uniforms)
    for i, one in enumerate(states):
        alone = sample(rows[i : i + 1], [one], uniforms[i : i + 1])
        assert alone.token_ids == [together.token_ids[i]]
        assert (alone.logprobs[0] is None) == (together.logprobs[i] is None)


def test_logprobs_are_the_models_own() -> None:
    rows = logits(2)
    wishes = params(temperature=0.0, logprobs=VOCAB, logit_bias={7: 100.0})
    result = sample(rows, [state(wishes), state(params())], [0.5, 0.5]).logprobs
    assert result[1] is None
    assert result[0] is not None
    raw = rows[0].log_softmax(-1)
    assert result[0].chosen == pytest.approx(raw[7].item())
    assert math.fsum(math.exp(value) for _, value in result[0].top) == pytest.approx(1.0)
    assert [value for _, value in result[0].top] == sorted(raw.tolist(), reverse=True)


def test_as_many_alternatives_as_each_row_asks_for() -> None:
    states = [state(params(logprobs=k)) for k in (0, 1, 4)]
    result = sample(logits(3), states, [0.5] * 3).logprobs
    assert [len(one.top) for one in result if one is not None] == [0, 1, 4]


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_poisoned_row_is_not_sampled(poison: float) -> None:
    rows = logits(3)
    clean = sample(rows, [state(p) for p in MIXED[:3]], [0.4] * 3).token_ids
    rows[1, 5] = poison
    assert sample(rows, [state(p) for p in MIXED[:3]], [0.4] * 3).token_ids == [
        clean[0],
        None,
        clean[2],
    ]


def test_a_cut_beyond_the_sorted_window(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, uniforms = logits(6) / 3, [0.05, 0.3, 0.5, 0.7, 0.9, 0.99]
    wishes = [params(top_p=p, top_k=k) for p in (0.3, 0.9, 0.999) for k in (0, 30)]
    states = [state(one) for one in wishes]
    monkeypatch.setattr(sampler, "_WINDOW", VOCAB)
    whole = sample(rows, states, uniforms).token_ids
    monkeypatch.setattr(sampler, "_WINDOW", 4)
    assert sample(rows, states, uniforms).token_ids == whole
