"""Logits in, token ids out: what OpenAI's and vLLM's sampling parameters mean, as tensors.

Pure functions: randomness comes in as one uniform number per row, so a row's token depends
on its own logits and number alone, whatever else is in the batch. A batch of plain greedy
rows costs one maximum; every other feature costs only the rows that ask for it.

Axes: B rows of the step, G rows of one group, V vocabulary.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pandagpt.engine.grammar import Allowed
from pandagpt.engine.request import SamplingParams, TokenLogprob
from pandagpt.model.tokenizer import Tokenizer

# Below this a temperature only divides by nearly nothing: greedy (vLLM's bound).
_GREEDY_BELOW = 1e-5
# How many of the likeliest tokens are sorted at first; nearly always the cut is among them.
_WINDOW = 256


@dataclass(frozen=True, slots=True)
class Logprobs:
    """Of one token and of the likeliest ones, under the model's own (raw) distribution."""

    chosen: float
    top: list[tuple[int, float]]

    def spelled(self, token_id: int, tokenizer: Tokenizer) -> TokenLogprob:
        """Of the token that was chosen; the likeliest ones with it."""
        top = tuple(_spelled(one, logprob, tokenizer) for one, logprob in self.top)
        return replace(_spelled(token_id, self.chosen, tokenizer), top=top)


def _spelled(token_id: int, logprob: float, tokenizer: Tokenizer) -> TokenLogprob:
    data = tokenizer.token_bytes(token_id)
    return TokenLogprob(token_id, data.decode(errors="replace"), data, logprob)


@dataclass(frozen=True, slots=True)
class Sampled:
    """A row's token is None if its logits held NaN or infinity: it must not be sampled."""

    token_ids: list[int | None]
    logprobs: list[Logprobs | None]


@dataclass(slots=True, eq=False)
class SamplerState:
    """What one row's sampling needs to know. Counts exist only if a penalty asks for them.

    `allowed` is what the row's grammar says of its next token; None: it has none.
    """

    params: SamplingParams
    end_ids: tuple[int, ...]
    num_generated: int = 0
    output_counts_V: Tensor | None = None
    prompt_mask_V: Tensor | None = None
    allowed: Allowed | None = None
    is_greedy: bool = field(init=False)
    is_plain: bool = field(init=False)

    def __post_init__(self) -> None:
        params = self.params
        self.is_greedy = params.temperature < _GREEDY_BELOW
        adjusted = has_penalty(params) or bool(params.logit_bias)
        self.is_plain = self.is_greedy and not adjusted

    @property
    def banned_ids(self) -> tuple[int, ...]:
        if self.num_generated >= self.params.min_tokens or self._must_end:
            return ()
        return self.end_ids

    @property
    def _must_end(self) -> bool:
        """Whether the grammar leaves nothing but to end."""
        if self.allowed is None:
            return False
        mask_V, ends = self.allowed.mask_V, np.unique(self.end_ids)
        return np.count_nonzero(mask_V) == np.count_nonzero(mask_V[ends])

    def allows(self, token_id: int) -> bool:
        is_in_grammar = self.allowed is None or self.allowed.has(token_id)
        return is_in_grammar and token_id not in self.banned_ids

    def instead_of(self, best_id: int) -> int | None:
        return self.allowed.instead.get(best_id) if self.allowed else None

    def observe(self, token_id: int) -> None:
        self.num_generated += 1
        if self.output_counts_V is not None:
            self.output_counts_V[token_id] += 1


def has_penalty(params: SamplingParams) -> bool:
    additive = params.presence_penalty != 0 or params.frequency_penalty != 0
    return additive or params.repetition_penalty != 1


def new_state(
    params: SamplingParams,
    end_ids: tuple[int, ...],
    prompt_ids: Sequence[int],
    vocab_size: int,
    device: torch.device,
) -> SamplerState:
    """`prompt_ids` are the prompt's tokens without its media slots."""
    state = SamplerState(params, end_ids)
    if has_penalty(params):
        state.output_counts_V = torch.zeros(vocab_size, device=device)
        state.prompt_mask_V = torch.zeros(vocab_size, device=device, dtype=torch.bool)
        state.prompt_mask_V[list(prompt_ids)] = True
    return state


def sample(logits_BV: Tensor, states: list[SamplerState], uniforms: list[float]) -> Sampled:
    """`uniforms` are numbers in [0, 1), one a row; greedy rows leave theirs unused."""
    token_ids, group = _likeliest(logits_BV), []
    for row, (state, best_id) in enumerate(zip(states, token_ids, strict=True)):
        if best_id is None:
            continue
        if (instead := state.instead_of(best_id)) is not None:
            token_ids[row] = instead
        elif state.is_plain and state.allows(best_id):
            continue
        elif (best_allowed := _best_allowed(logits_BV[row], state)) is not None:
            token_ids[row] = best_allowed
        else:
            group.append(row)
    if group:
        chosen = _sample_group(
            logits_BV[group], [states[i] for i in group], [uniforms[i] for i in group]
        )
        for position, token_id in zip(group, chosen, strict=True):
            token_ids[position] = token_id
    return Sampled(token_ids, _logprobs(logits_BV, states, token_ids))


def _likeliest(logits_BV: Tensor) -> list[int | None]:
    """None: the row holds NaN, or its largest number is infinite."""
    if logits_BV.is_cuda:
        best_B = logits_BV.max(dim=-1)
        # One copy to the host for both; token ids are exact in float64.
        ids, values = torch.stack([best_B.indices.double(), best_B.values.double()]).tolist()
    else:
        # NumPy's takes a fifteenth of the time of torch's; NaN is the largest for both.
        logits = logits_BV.numpy()
        ids = logits.argmax(axis=-1)
        values = logits[np.arange(len(logits)), ids]
    return [int(i) if math.isfinite(v) else None for i, v in zip(ids, values, strict=True)]


def _best_allowed(logits_V: Tensor, state: SamplerState) -> int | None:
    """Of a row that only its grammar holds back. None: another way is quicker, or needed."""
    if logits_V.is_cuda or state.allowed is None or not state.is_plain or state.banned_ids:
        return None
    ids = np.flatnonzero(state.allowed.mask_V)
    return int(ids[logits_V.float().numpy()[ids].argmax()]) if len(ids) else None


def _sample_group(
    logits_GV: Tensor, states: list[SamplerState], uniforms: list[float]
) -> list[int]:
    """`logits_GV` is a copy and may be changed in place."""
    _penalize(logits_GV, states)
    _add_bias(logits_GV, states)
    _ban(logits_GV, states)
    _ban_by_grammar(logits_GV, states)
    greedy_ids = logits_GV.argmax(dim=-1).tolist()
    drawn = [i for i, state in enumerate(states) if not state.is_greedy]
    if drawn:
        params = [states[i].params for i in drawn]
        ids = _draw(logits_GV[drawn], params, [uniforms[i] for i in drawn])
        for position, token_id in zip(drawn, ids, strict=True):
            greedy_ids[position] = token_id
    return greedy_ids


def _penalize(logits_GV: Tensor, states: list[SamplerState]) -> None:
    """Repetition counts prompt and output (Keskar et al. 2019, CTRL, section 4.1: divide or
    multiply by it); presence and frequency count the output alone (OpenAI's formula).
    """
    rows = [i for i, state in enumerate(states) if state.output_counts_V is not None]
    if not rows:
        return
    counts = torch.stack([c for s in states if (c := s.output_counts_V) is not None])
    in_prompt = torch.stack([m for s in states if (m := s.prompt_mask_V) is not None])
    params = [states[i].params for i in rows]
    logits = logits_GV[rows]
    repetition = _column(logits, [p.repetition_penalty for p in params])
    scaled = torch.where(logits > 0, logits / repetition, logits * repetition)
    logits = torch.where(in_prompt | (counts > 0), scaled, logits)
    logits -= _column(logits, [p.frequency_penalty for p in params]) * counts
    logits -= _column(logits, [p.presence_penalty for p in params]) * (counts > 0)
    logits_GV[rows] = logits


def _add_bias(logits_GV: Tensor, states: list[SamplerState]) -> None:
    entries = [(i, t, b) for i, s in enumerate(states) for t, b in s.params.logit_bias.items()]
    if not entries:
        return
    rows, ids, values = zip(*entries, strict=True)
    where = (_index(logits_GV, rows), _index(logits_GV, ids))
    logits_GV.index_put_(where, logits_GV.new_tensor(values), accumulate=True)


def _ban(logits_GV: Tensor, states: list[SamplerState]) -> None:
    """No end token before `min_tokens`."""
    entries = [(i, t) for i, state in enumerate(states) for t in state.banned_ids]
    if entries:
        rows, ids = zip(*entries, strict=True)
        where = (_index(logits_GV, rows), _index(logits_GV, ids))
        logits_GV.index_put_(where, logits_GV.new_tensor(float("-inf")))


def _ban_by_grammar(logits_GV: Tensor, states: list[SamplerState]) -> None:
    """One fill of the rows from the first to the last that has a grammar."""
    rows = [i for i, state in enumerate(states) if state.allowed is not None]
    if not rows:
        return
    held = states[rows[0] : rows[-1] + 1]
    banned = np.zeros((len(held), logits_GV.shape[-1]), np.bool_)
    for row, state in enumerate(held):
        if state.allowed is not None:
            np.logical_not(state.allowed.mask_V, out=banned[row])
    banned_GV = torch.from_numpy(banned).to(logits_GV.device)
    logits_GV[rows[0] : rows[-1] + 1].masked_fill_(banned_GV, float("-inf"))


def _draw(logits_GV: Tensor, params: list[SamplingParams], uniforms: list[float]) -> list[int]:
    """One token a row, by the inverse of the cumulative distribution at its uniform number."""
    scaled_GV = logits_GV / _column(logits_GV, [p.temperature for p in params])
    _cut_min_p(scaled_GV, [p.min_p for p in params])
    # Whether a row is sorted depends on the row alone, so its draw does too.
    cut = [i for i, p in enumerate(params) if p.top_k > 0 or p.top_p < 1]
    if not cut:
        return _invert(scaled_GV, uniforms)
    ids = [0] * len(params)
    if whole := sorted(set(range(len(params))) - set(cut)):
        drawn = _invert(scaled_GV[whole], [uniforms[i] for i in whole])
        ids = _scattered(ids, whole, drawn)
    drawn = _draw_cut(scaled_GV[cut], [params[i] for i in cut], [uniforms[i] for i in cut])
    return _scattered(ids, cut, drawn)


def _draw_cut(logits_GV: Tensor, params: list[SamplingParams], uniforms: list[float]) -> list[int]:
    """With top-k and top-p. Sorting a vocabulary is dear, so at first only a window of it."""
    ids = [0] * len(params)
    rows = list(range(len(params)))
    width = _WINDOW
    while rows:
        width = min(width, logits_GV.shape[-1])
        window_GW, order_GW, is_enough = _cut_tail(
            logits_GV[rows], [params[i] for i in rows], width
        )
        places = _invert(window_GW, [uniforms[i] for i in rows])
        tokens = order_GW.gather(1, _index(order_GW, places)[:, None])[:, 0].tolist()
        ids = _scattered(ids, rows, tokens)
        rows = [row for row, enough in zip(rows, is_enough, strict=True) if not enough]
        width *= 8
    return ids


def _scattered(ids: list[int], positions: list[int], values: list[int]) -> list[int]:
    changed = dict(zip(positions, values, strict=True))
    return [changed.get(i, token_id) for i, token_id in enumerate(ids)]


def _cut_min_p(logits_GV: Tensor, min_ps: list[float]) -> None:
    """Drops what is less likely than `min_p` times the likeliest token."""
    if any(min_ps):
        floor = logits_GV.max(dim=-1, keepdim=True).values + _column(logits_GV, min_ps).log()
        logits_GV.masked_fill_(logits_GV < floor, float("-inf"))


def _cut_tail(
    logits_GV: Tensor, params: list[SamplingParams], width: int
) -> tuple[Tensor, Tensor, list[bool]]:
    """Likeliest first: the `top_k` of them, then of these the fewest that reach `top_p`.

    Logits and ids of the `width` likeliest, and for each row whether the cut lies within them.
    """
    vocab_size = logits_GV.shape[-1]
    window_GW, order_GW = logits_GV.topk(width, dim=-1)
    top_k_G1 = _column(logits_GV, [min(p.top_k or vocab_size, vocab_size) for p in params])
    top_p_G1 = _column(logits_GV, [p.top_p for p in params])
    window_GW[torch.arange(width, device=logits_GV.device) >= top_k_G1] = float("-inf")
    in_window_G1 = top_k_G1 <= width
    total_G1 = torch.where(in_window_G1, _log_sum(window_GW), _log_sum(logits_GV))
    probs_GW = (window_GW - total_G1).exp()
    cumulative_GW = probs_GW.cumsum(dim=-1)
    is_reached = cumulative_GW - probs_GW >= top_p_G1
    is_reached[:, 0] = False
    reaches_G1 = (top_k_G1 == vocab_size) & (cumulative_GW[:, -1:] >= top_p_G1)
    is_enough = (in_window_G1 | reaches_G1)[:, 0].tolist()
    return window_GW.masked_fill_(is_reached, float("-inf")), order_GW, is_enough


def _log_sum(logits_GV: Tensor) -> Tensor:
    return logits_GV.logsumexp(dim=-1, keepdim=True)


def _invert(logits_GV: Tensor, uniforms: list[float]) -> list[int]:
    """float64, or the sum over a large vocabulary would round small shares away."""
    cumulative_GV = logits_GV.softmax(dim=-1).double().cumsum(dim=-1)
    points_G1 = _column(cumulative_GV, uniforms) * cumulative_GV[:, -1:]
    places_G = torch.searchsorted(cumulative_GV, points_G1, right=True)[:, 0]
    return places_G.clamp_(max=logits_GV.shape[-1] - 1).tolist()


def _logprobs(
    logits_BV: Tensor, states: list[SamplerState], token_ids: list[int | None]
) -> list[Logprobs | None]:
    result: list[Logprobs | None] = [None] * len(states)
    rows = [
        (i, t, k)
        for i, t in enumerate(token_ids)
        if t is not None and (k := states[i].params.logprobs) is not None
    ]
    if not rows:
        return result
    positions, ids, nums_top = (list(column) for column in zip(*rows, strict=True))
    logprobs_GV = logits_BV[positions].log_softmax(dim=-1)
    chosen = logprobs_GV.gather(1, _index(logprobs_GV, ids)[:, None])[:, 0].tolist()
    top = logprobs_GV.topk(min(max(nums_top), logprobs_GV.shape[-1]), dim=-1)
    tops = zip(top.indices.tolist(), top.values.tolist(), nums_top, strict=True)
    lists = [list(zip(i, v, strict=True))[:k] for i, v, k in tops]
    for position, value, alternatives in zip(positions, chosen, lists, strict=True):
        result[position] = Logprobs(value, alternatives)
    return result


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, device=like.device, dtype=like.dtype)[:, None]


def _index(like: Tensor, values: Sequence[int]) -> Tensor:
    return torch.tensor(values, device=like.device)
