"""The model on its device: plans in, logits and tokens out. The only file that holds the cache.

Knows sequences by their rows and tokens; decides nothing.
"""

from collections.abc import Sequence as Sequences

import torch
from torch import Tensor

from pandagpt.engine import faults
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.grammar import Allowed
from pandagpt.engine.prefix_cache import BLOCK_TOKENS
from pandagpt.engine.request import Embeddings, GenerateRequest
from pandagpt.engine.sampler import Sampled, SamplerState, new_state, sample
from pandagpt.engine.scheduler import Chunk, Move, Plan, Restore
from pandagpt.engine.sequence import Sequence
from pandagpt.model.kv_cache import Span
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.patch import NOBODY, Patched
from pandagpt.model.transfer import sent


class Runner:
    def __init__(self, model: PandaGPT, config: EngineConfig) -> None:
        self._model = model
        self._llama = model.llama
        self.tokenizer = model.tokenizer
        self.vocab_size = model.llama.config.vocab_size
        self.max_model_len = config.max_model_len or model.max_model_len
        self._cache = model.llama.new_cache(config.max_rows, self.max_model_len)
        self._prompts: dict[Sequence, Tensor] = {}
        self._states: dict[Sequence, SamplerState] = {}
        # Of the sequences whose model is not the one that is merged into the weights.
        self._differences: dict[Sequence, int] = {}

    @property
    def is_asynchronous(self) -> bool:
        """Whether `forward` returns before its logits are computed."""
        return self._model.device.type == "cuda"

    def reset(self) -> None:
        self._prompts.clear()
        self._states.clear()
        self._differences.clear()
        self._cache.reset()

    def begin(
        self, sequence: Sequence, request: GenerateRequest, embeddings: Sequences[Tensor]
    ) -> None:
        """`embeddings` are those of the request's media, as the encoders gave them.

        A sequence that begins again keeps its state, and reads its tokens behind the prompt.
        """
        name = request.model
        state = self._states.get(sequence) or self._new_state(request)
        pairs = zip(request.media, embeddings, strict=True)
        rows = [row * self._model.gain_of(medium.modality, name) for medium, row in pairs]
        prompt_LD = self._model.embed_prompt(request.prompt, rows, name)
        if sequence.token_ids:
            prompt_LD = torch.cat([prompt_LD, self._embed_ids(sequence.token_ids)])
        self._prompts[sequence] = prompt_LD
        self._states[sequence] = state
        if name:
            self._differences[sequence] = self._model.variants[name].difference

    def _new_state(self, request: GenerateRequest) -> SamplerState:
        slots = {position for position, _ in request.prompt.slots}
        ids = [t for i, t in enumerate(request.prompt.token_ids) if i not in slots]
        end_ids = (self._model.tokenizer.eos_id, *request.params.stop_token_ids)
        return new_state(request.params, end_ids, ids, self.vocab_size, self._model.device)

    def constrain(self, sequence: Sequence, allowed: Allowed) -> None:
        """Of all tokens only these may be sampled next."""
        self._states[sequence].allowed = allowed

    def embeddings(self, rows: Sequences[Tensor]) -> Embeddings:
        rows_NE = torch.stack(list(rows)).float()
        return Embeddings(rows_NE.shape[1], rows_NE.cpu().numpy().tobytes())

    def drop_prompt(self, sequence: Sequence) -> None:
        """Once read, the prompt lives on in the cache alone."""
        self._prompts.pop(sequence, None)

    def end(self, sequence: Sequence) -> None:
        self.drop_prompt(sequence)
        self._states.pop(sequence, None)
        self._differences.pop(sequence, None)
        if not self._states and self._cache.has_grown:
            self._cache.reset()

    def move(self, moves: Sequences[Move]) -> None:
        for move in moves:
            self._cache.move(move.source, move.target, move.length)

    def save(self, row: int, block: int) -> Tensor:
        """A copy of block `block` of a row, for the prefix cache."""
        return self._cache.save(row, block * BLOCK_TOKENS, BLOCK_TOKENS)

    def restore(self, restore: Restore[Tensor]) -> None:
        self._cache.reserve(len(restore.blocks) * BLOCK_TOKENS)
        for number, block in enumerate(restore.blocks):
            self._cache.restore(restore.row, number * BLOCK_TOKENS, block)

    def clear(self, row: int) -> None:
        """Masked positions are multiplied by zero, which NaN would survive."""
        self._cache.clear(row)

    @torch.inference_mode()
    def forward(self, plan: Plan) -> Tensor:
        """Logits [rows, V] of every decode and of every chunk that ends its prompt, in order."""
        faults.strike("step")
        num_decodes = len(plan.decodes)
        positions = [s.num_computed for s in plan.decodes]
        for chunk in plan.chunks:
            positions.extend(range(chunk.start, chunk.start + chunk.length))
        spans = [Span(c.sequence.row, c.start, c.length) for c in plan.chunks]
        hidden_NH = self._llama(
            self._embeds(plan),
            torch.tensor(positions),
            self._cache,
            num_decodes,
            spans,
            self._patched(plan),
        )
        if plan.chunks:
            last = torch.tensor(_last_positions(plan), dtype=torch.int64)
            hidden_NH = hidden_NH[sent(last, hidden_NH.device)]
        logits_BV = self._llama.logits(hidden_NH)
        faults.spoil("step", logits_BV)
        return logits_BV

    @torch.inference_mode()
    def sample(
        self, logits_BV: Tensor, sequences: list[Sequence], uniforms: list[float]
    ) -> Sampled:
        faults.strike("sample")
        states = [self._states[sequence] for sequence in sequences]
        sampled = sample(logits_BV, states, uniforms)
        for state, token_id in zip(states, sampled.token_ids, strict=True):
            if token_id is not None:
                state.observe(token_id)
        return sampled

    def _patched(self, plan: Plan) -> Patched:
        if not self._differences:
            return NOBODY
        parts = [(sequence, 1) for sequence in plan.decodes]
        parts += [(chunk.sequence, chunk.length) for chunk in plan.chunks]
        patched: dict[int, list[int]] = {}
        end = 0
        for sequence, length in parts:
            start, end = end, end + length
            if (number := self._differences.get(sequence)) is not None:
                patched.setdefault(number, []).extend(range(start, end))
        return patched

    def _embeds(self, plan: Plan) -> Tensor:
        parts = [self._chunk_embeds(chunk) for chunk in plan.chunks]
        if plan.decodes:
            ids = [sequence.token_ids[-1] for sequence in plan.decodes]
            parts.insert(0, self._embed_ids(ids))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _chunk_embeds(self, chunk: Chunk) -> Tensor:
        if chunk.sequence.is_prefilled:
            return self._embed_ids([chunk.sequence.token_ids[-1]])
        return self._prompts[chunk.sequence][chunk.start : chunk.start + chunk.length]

    def _embed_ids(self, ids: list[int]) -> Tensor:
        return self._llama.embed(sent(torch.tensor(ids), self._model.device))


def _last_positions(plan: Plan) -> list[int]:
    """Where in the flat batch the hidden states stand whose logits are wanted."""
    places = list(range(len(plan.decodes)))
    end = len(places)
    for chunk in plan.chunks:
        end += chunk.length
        if chunk.is_last:
            places.append(end - 1)
    return places
