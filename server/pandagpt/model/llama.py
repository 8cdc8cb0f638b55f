"""LLaMA for serving: rows of embeddings in, hidden states and logits out, keys and values kept.

Hugging Face's architecture and key names; q, k, v and gate, up are fused into one matrix each
when they are loaded, because a step of a small model costs its number of calls. Rows and
positions come from the caller: this file knows no requests. Inference only.

Axes: N tokens of the flat batch, H hidden, V vocabulary, P heads of queries and of keys,
D head dim, R rows of the cache that decode, G query heads per key head, K key heads,
S cached positions, T tokens of one span.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pandagpt.errors import CheckpointError
from pandagpt.model.config import LlamaConfig
from pandagpt.model.kv_cache import KVCache, Span, rows_of
from pandagpt.model.lora import Difference, LowRank
from pandagpt.model.patch import NOBODY, Patched, Patches, Place, patches_of
from pandagpt.model.rotary import rotary_table
from pandagpt.model.transfer import sent

# Tables that old versions of transformers stored and that follow from the config.
_DERIVED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


def is_derived(key: str) -> bool:
    """Of a checkpoint's key: nobody needs it."""
    return _DERIVED.fullmatch(key) is not None


@dataclass(frozen=True, slots=True)
class Step:
    """What all layers of one forward pass share."""

    cos_N1D: Tensor
    sin_N1D: Tensor
    rows_N: Tensor
    positions_N: Tensor
    num_decodes: int
    decode_len: int
    decode_mask_RK1S: Tensor
    spans: Sequence[Span]
    span_masks_TS: Sequence[Tensor | None]
    patched: Sequence[tuple[Patches, Tensor]] = ()
    """Differences, and the tokens [M] of the batch that each is added for."""

    def patch(self, layer: int, place: Place, x_NI: Tensor, y_NO: Tensor) -> None:
        """What other models than the merged one add to `y`, a fused matrix' product with `x`."""
        for patches, tokens_M in self.patched:
            for patch in patches.get((layer, place), ()):
                delta_MO = F.linear(F.linear(x_NI[tokens_M], patch.a), patch.b)
                y_NO[:, patch.first : patch.end].index_add_(0, tokens_M, delta_MO)


class Llama(nn.Module):
    """Weights are uninitialised until `load`."""

    def __init__(
        self,
        config: LlamaConfig,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.config = config
        hidden, vocab = config.hidden_size, config.vocab_size
        self.embedding = _weight(vocab, hidden, device=device, dtype=dtype)
        tied = config.tie_word_embeddings
        self.head = self.embedding if tied else _weight(vocab, hidden, device=device, dtype=dtype)
        self.norm = _weight(hidden, device=device, dtype=dtype)
        layers = (Layer(config, i, device, dtype) for i in range(config.num_hidden_layers))
        self.layers = nn.ModuleList(layers)
        self.rotary_L2D: Tensor
        self._differences: list[Patches] = []
        self.register_buffer("rotary_L2D", rotary_table(config).to(device, dtype), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.norm.device

    @property
    def dtype(self) -> torch.dtype:
        return self.norm.dtype

    def weights(self) -> dict[str, Tensor]:
        """Each weight under its Hugging Face key; views, where it is part of a fused matrix."""
        named = {"model.embed_tokens.weight": self.embedding, "model.norm.weight": self.norm}
        if not self.config.tie_word_embeddings:
            named["lm_head.weight"] = self.head
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            named |= {f"model.layers.{index}.{k}": v for k, v in layer.weights().items()}
        return named

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Copies every weight, one tensor at a time; `state` may read its values lazily."""
        weights = self.weights()
        if missing := sorted(weights.keys() - state.keys()):
            raise CheckpointError(f"{len(missing)} LLaMA weights are missing, such as {missing[0]}")
        if unknown := sorted(k for k in state.keys() - weights.keys() if not self._is_needless(k)):
            raise CheckpointError(f"{len(unknown)} LLaMA weights are unknown, such as {unknown[0]}")
        for key, target in weights.items():
            source = state[key]
            if source.shape != target.shape:
                shapes = f"{list(source.shape)}, the config says {list(target.shape)}"
                raise CheckpointError(f"{key} has shape {shapes}")
            target.copy_(source)

    def add_difference(self, difference: Difference) -> int:
        """Another model on these weights; its number, which `forward` takes."""

        def placed(matrix: Tensor) -> Tensor:
            # A copy, since it may lie in a file.
            return matrix.to(self.device, self.dtype, copy=True)

        difference = {k: LowRank(placed(low.a), placed(low.b)) for k, low in difference.items()}
        self._differences.append(patches_of(difference, self.config))
        return len(self._differences) - 1

    def rotary(self, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [N, 1, D]."""
        cos_N1D, sin_N1D = self.rotary_L2D[positions_N].split(1, dim=1)
        return cos_N1D, sin_N1D

    def decode_mask(self, positions_R: Tensor, length: int) -> Tensor:
        """0 where a row may look, -inf beyond its length; for each key head, as products want."""
        beyond_RS = torch.arange(length, device=positions_R.device) > positions_R[:, None]
        mask_RS = torch.zeros(beyond_RS.shape, device=positions_R.device, dtype=self.dtype)
        mask_R11S = mask_RS.masked_fill_(beyond_RS, float("-inf"))[:, None, None]
        return mask_R11S.expand(-1, self.config.num_key_value_heads, -1, -1).contiguous()

    def _is_needless(self, key: str) -> bool:
        tied_head = self.config.tie_word_embeddings and key == "lm_head.weight"
        return tied_head or is_derived(key)

    @property
    def kv_bytes_per_token(self) -> int:
        return self.config.kv_values_per_token * self.dtype.itemsize

    def new_cache(self, num_rows: int, max_len: int) -> KVCache:
        grows = self.device.type == "cpu"
        return KVCache(self.config, num_rows, max_len, self.device, self.dtype, grows=grows)

    @torch.inference_mode()
    def embed(self, ids_N: Tensor) -> Tensor:
        return F.embedding(ids_N, self.embedding)

    @torch.inference_mode()
    def forward(
        self,
        embeds_NH: Tensor,
        positions_N: Tensor,
        cache: KVCache,
        num_decodes: int,
        spans: Sequence[Span],
        patched: Patched = NOBODY,
    ) -> Tensor:
        """Hidden states [N, H] after the last norm; keys and values go to the cache.

        The first `num_decodes` tokens belong to cache rows 0, 1, ..., one each; then come the
        tokens of each span in order. `positions_N` is given on the CPU, since the longest
        one is read by the host.
        """
        step = self._step(positions_N, cache, num_decodes, spans)
        if patched:
            step = replace(step, patched=self._patches(patched))
        return self.through_layers(embeds_NH.to(self.dtype, copy=True), step, cache)

    def through_layers(self, hidden_NH: Tensor, step: Step, cache: KVCache) -> Tensor:
        """Changes `hidden_NH` in place, and returns it normalised."""
        for layer in self.layers:
            assert isinstance(layer, Layer)
            layer.update(hidden_NH, step, cache)
        return F.rms_norm(hidden_NH, self.norm.shape, self.norm, self.config.rms_norm_eps)

    @torch.inference_mode()
    def logits(self, hidden_NH: Tensor) -> Tensor:
        return F.linear(hidden_NH, self.head).float()

    def _patches(self, patched: Patched) -> list[tuple[Patches, Tensor]]:
        return [
            (self._differences[number], sent(torch.tensor(list(tokens)), self.device))
            for number, tokens in patched.items()
        ]

    def _step(
        self, positions_N: Tensor, cache: KVCache, num_decodes: int, spans: Sequence[Span]
    ) -> Step:
        decode_len = int(positions_N[:num_decodes].max()) + 1 if num_decodes else 0
        cache.reserve(max([decode_len, *(span.end for span in spans)]))
        positions_N = sent(positions_N, self.device)
        cos_N1D, sin_N1D = self.rotary(positions_N)
        return Step(
            cos_N1D=cos_N1D,
            sin_N1D=sin_N1D,
            rows_N=sent(torch.tensor(rows_of(num_decodes, spans)), self.device),
            positions_N=positions_N,
            num_decodes=num_decodes,
            decode_len=decode_len,
            decode_mask_RK1S=self.decode_mask(positions_N[:num_decodes], decode_len),
            spans=spans,
            span_masks_TS=[_span_mask(s, self.device) for s in spans],
        )


class Layer(nn.Module):
    def __init__(
        self, config: LlamaConfig, index: int, device: torch.device | str, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.index = index
        self.eps = config.rms_norm_eps
        self.num_heads, self.num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = config.head_dim
        hidden, inner = config.hidden_size, config.intermediate_size
        total = (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        self.attention_norm = _weight(hidden, device=device, dtype=dtype)
        self.qkv = _weight(total, hidden, device=device, dtype=dtype)
        self.out = _weight(hidden, self.num_heads * self.head_dim, device=device, dtype=dtype)
        self.mlp_norm = _weight(hidden, device=device, dtype=dtype)
        self.gate_up = _weight(2 * inner, hidden, device=device, dtype=dtype)
        self.down = _weight(hidden, inner, device=device, dtype=dtype)

    def weights(self) -> dict[str, Tensor]:
        kv = self.num_kv_heads * self.head_dim
        q_proj, k_proj, v_proj = self.qkv.split([self.num_heads * self.head_dim, kv, kv])
        gate_proj, up_proj = self.gate_up.chunk(2)
        return {
            "input_layernorm.weight": self.attention_norm,
            "self_attn.q_proj.weight": q_proj,
            "self_attn.k_proj.weight": k_proj,
            "self_attn.v_proj.weight": v_proj,
            "self_attn.o_proj.weight": self.out,
            "post_attention_layernorm.weight": self.mlp_norm,
            "mlp.gate_proj.weight": gate_proj,
            "mlp.up_proj.weight": up_proj,
            "mlp.down_proj.weight": self.down,
        }

    def update(self, hidden_NH: Tensor, step: Step, cache: KVCache) -> None:
        """Adds this layer's attention and MLP to `hidden_NH`, in place."""
        normed_NH = F.rms_norm(hidden_NH, self.attention_norm.shape, self.attention_norm, self.eps)
        qkv = F.linear(normed_NH, self.qkv)
        step.patch(self.index, "qkv", normed_NH, qkv)
        mixed = self._attend(qkv.view(len(hidden_NH), -1, self.head_dim), step, cache)
        hidden_NH.addmm_(mixed, self.out.t())
        step.patch(self.index, "out", mixed, hidden_NH)
        normed_NH = F.rms_norm(hidden_NH, self.mlp_norm.shape, self.mlp_norm, self.eps)
        gate_up = F.linear(normed_NH, self.gate_up)
        step.patch(self.index, "gate_up", normed_NH, gate_up)
        gate, up = gate_up.chunk(2, dim=1)
        gated = F.silu(gate, inplace=True).mul_(up)
        hidden_NH.addmm_(gated, self.down.t())
        step.patch(self.index, "down", gated, hidden_NH)

    def _attend(self, qkv_NPD: Tensor, step: Step, cache: KVCache) -> Tensor:
        """Rotates, stores and attends: [N, heads * D]."""
        num_tokens = len(qkv_NPD)
        _rotate(qkv_NPD[:, : self.num_heads + self.num_kv_heads], step)
        kv_N2KD = qkv_NPD[:, self.num_heads :].view(num_tokens, 2, self.num_kv_heads, -1)
        cache.tokens[self.index].index_put_((step.rows_N, step.positions_N), kv_N2KD)
        q_NPD = qkv_NPD[:, : self.num_heads]
        parts = [self._decode(q_NPD[: step.num_decodes], step, cache)] if step.num_decodes else []
        first = step.num_decodes
        for span, mask_TS in zip(step.spans, step.span_masks_TS, strict=True):
            parts.append(self._prefill(q_NPD[first : first + span.length], span, mask_TS, cache))
            first += span.length
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _decode(self, q_RPD: Tensor, step: Step, cache: KVCache) -> Tensor:
        """One new token a row: the query heads of one key head stand where time would."""
        num_rows = len(q_RPD)
        q_RKGD = q_RPD.view(num_rows, self.num_kv_heads, -1, self.head_dim)
        k_RKSD = cache.k[self.index, :num_rows, :, : step.decode_len]
        v_RKSD = cache.v[self.index, :num_rows, :, : step.decode_len]
        attend = _attend_on_cpu if q_RPD.is_cpu else F.scaled_dot_product_attention
        return attend(q_RKGD, k_RKSD, v_RKSD, step.decode_mask_RK1S).reshape(num_rows, -1)

    def _prefill(self, q_TPD: Tensor, span: Span, mask_TS: Tensor | None, cache: KVCache) -> Tensor:
        out_1PTD = F.scaled_dot_product_attention(
            q_TPD.transpose(0, 1).unsqueeze(0),
            cache.k[self.index, span.row : span.row + 1, :, : span.end],
            cache.v[self.index, span.row : span.row + 1, :, : span.end],
            attn_mask=mask_TS,
            is_causal=mask_TS is None and span.length > 1,
            enable_gqa=self.num_heads != self.num_kv_heads,
        )
        return out_1PTD[0].transpose(0, 1).reshape(span.length, -1)


def llama_shapes(config: LlamaConfig) -> dict[str, tuple[int, ...]]:
    return {key: tuple(t.shape) for key, t in Llama(config, device="meta").weights().items()}


def _weight(*shape: int, device: torch.device | str, dtype: torch.dtype) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape, device=device, dtype=dtype), requires_grad=False)


def _rotate(x_NPD: Tensor, step: Step) -> None:
    """Rotary position embedding, in place. Rolling by half swaps the halves; sines bear signs."""
    swapped_NPD = x_NPD.roll(x_NPD.shape[-1] // 2, dims=-1)
    x_NPD.mul_(step.cos_N1D).addcmul_(swapped_NPD, step.sin_N1D)


def _attend_on_cpu(q_RKGD: Tensor, k_RKSD: Tensor, v_RKSD: Tensor, mask_RK1S: Tensor) -> Tensor:
    """Two batched products: for one query a row, torch's own attention takes twice as long."""
    q, k, v, mask = (x.flatten(0, 1) for x in (q_RKGD, k_RKSD, v_RKSD, mask_RK1S))
    scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(dim=-1), v)


def _span_mask(span: Span, device: torch.device) -> Tensor | None:
    """Needed only if several new tokens stand behind cached ones."""
    if span.start == 0 or span.length == 1:
        return None
    ones_TS = torch.ones(span.length, span.end, dtype=torch.bool, device=device)
    return ones_TS.tril_(diagonal=span.start)
