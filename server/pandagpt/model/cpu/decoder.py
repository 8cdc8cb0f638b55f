"""LLaMA on the CPU: packed weights in, and one call of compiled code a step.

The face of `llama.Llama`, with weights as float32, float16, int16 or int8; activations and sums
are float32 (with int16 and int8, products are of integers: see integer_tiles.h). A sequence gets
the same bits alone, in any batch, whole or in chunks.

Axes: N tokens of the flat batch, H hidden, V vocabulary.
"""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pandagpt.model.config import LlamaConfig
from pandagpt.model.cpu.compiler import library
from pandagpt.model.kv_cache import KVCache, Span, rows_of
from pandagpt.model.lora import Difference
from pandagpt.model.patch import NOBODY, PLACES, Patch, Patched, patches_of
from pandagpt.model.rotary import rotary_table

CpuWeights = Literal["float32", "float16", "int16", "int8"]

_TYPES: dict[CpuWeights, int] = {"float32": 0, "float16": 1, "int8": 2, "int16": 3}
_BYTES: dict[CpuWeights, int] = {"float32": 4, "float16": 2, "int8": 1, "int16": 2}
_INTEGERS: tuple[CpuWeights, ...] = ("int16", "int8")
_SCALE_BYTES = 2  # of integers: the upper half of a float


def weights_of_16_bits() -> CpuWeights | None:
    """Those that this machine is faster with; None: there is no compiler."""
    if (compiled := library()) is None:
        return None
    number = compiled.type_of_16_bits()
    return next(weights for weights, known in _TYPES.items() if known == number)


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("scales", ctypes.c_void_p),
        ("num_out", ctypes.c_int32),
        ("num_in", ctypes.c_int32),
    )


class _Layer(ctypes.Structure):
    _fields_ = (
        ("attention_norm", ctypes.c_void_p),
        ("mlp_norm", ctypes.c_void_p),
        ("qkv", _Matrix),
        ("out", _Matrix),
        ("gate_up", _Matrix),
        ("down", _Matrix),
    )


class _Model(ctypes.Structure):
    _fields_ = (
        ("hidden", ctypes.c_int32),
        ("inner", ctypes.c_int32),
        ("num_layers", ctypes.c_int32),
        ("num_heads", ctypes.c_int32),
        ("num_kv_heads", ctypes.c_int32),
        ("head_dim", ctypes.c_int32),
        ("weight_type", ctypes.c_int32),
        ("patch_type", ctypes.c_int32),
        ("kv_type", ctypes.c_int32),
        ("num_threads", ctypes.c_int32),
        ("eps", ctypes.c_float),
        ("rotary", ctypes.c_void_p),
        ("norm", ctypes.c_void_p),
        ("layers", ctypes.POINTER(_Layer)),
        ("head", _Matrix),
    )


class _Patch(ctypes.Structure):
    _fields_ = (("a", _Matrix), ("b", _Matrix), ("first", ctypes.c_int32))


class _Patched(ctypes.Structure):
    _fields_ = (
        ("patches", ctypes.POINTER(_Patch)),
        ("starts", ctypes.POINTER(ctypes.c_int32)),
        ("tokens", ctypes.POINTER(ctypes.c_int32)),
        ("num_tokens", ctypes.c_int32),
    )


@dataclass(frozen=True, slots=True)
class _Difference:
    """`patches` in the order of layers and places, and where those of each begin."""

    patches: ctypes.Array[_Patch]
    starts: ctypes.Array[ctypes.c_int32]

    def of(self, tokens: Sequence[int]) -> _Patched:
        return _Patched(
            self.patches, self.starts, (ctypes.c_int32 * len(tokens))(*tokens), len(tokens)
        )


class _Cache(ctypes.Structure):
    _fields_ = (
        ("slab", ctypes.c_void_p),
        ("num_rows", ctypes.c_int32),
        ("capacity", ctypes.c_int32),
    )


class CpuLlama:
    def __init__(
        self, config: LlamaConfig, state: Mapping[str, Tensor], weights: CpuWeights
    ) -> None:
        """`state` holds every weight under its Hugging Face key, and may read them lazily."""
        compiled = library()
        assert compiled is not None, "there is no compiler: use llama.Llama"
        self.config = config
        self._library = compiled
        self._weights: CpuWeights = weights
        is_integer = weights in _INTEGERS
        # The low ranks of other models are not worth eight bits: they are small, and sums of all.
        self._patch_weights: CpuWeights = "float16" if is_integer else weights
        self._owned: list[Tensor] = []
        self._differences: list[_Difference] = []
        self.device, self.dtype = torch.device("cpu"), torch.float32
        # float16 weights lose nothing of a checkpoint published so; halved keys and values would.
        self._kv_dtype = torch.float16 if is_integer else torch.float32
        stored = torch.float32 if weights == "float32" else torch.float16
        self._table = state["model.embed_tokens.weight"].to(stored, copy=True)
        self._model = self._read(state)

    @property
    def kv_bytes_per_token(self) -> int:
        return self.config.kv_values_per_token * self._kv_dtype.itemsize

    def new_cache(self, num_rows: int, max_len: int) -> KVCache:
        block = self._library.block_length()
        return KVCache(
            self.config, num_rows, max_len, "cpu", self._kv_dtype, grows=False, block=block
        )

    @torch.inference_mode()
    def embed(self, ids_N: Tensor) -> Tensor:
        return F.embedding(ids_N, self._table).float()

    @torch.inference_mode()
    def __call__(
        self,
        embeds_NH: Tensor,
        positions_N: Tensor,
        cache: KVCache,
        num_decodes: int,
        spans: Sequence[Span],
        patched: Patched = NOBODY,
    ) -> Tensor:
        """As `Llama.forward`."""
        rows_N = torch.tensor(rows_of(num_decodes, spans), dtype=torch.int32)
        positions_N = positions_N.int()
        cache.reserve(int(positions_N.max()) + 1)
        hidden_NH = embeds_NH.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        self._model.num_threads = torch.get_num_threads()
        slab = _Cache(cache.slab.data_ptr(), cache.num_rows, cache.capacity)
        groups = [self._differences[number].of(tokens) for number, tokens in patched.items()]
        self._library.forward(
            ctypes.byref(self._model),
            ctypes.byref(slab),
            len(rows_N),
            _address(rows_N),
            _address(positions_N),
            len(groups),
            (_Patched * len(groups))(*groups) if groups else None,
            _address(hidden_NH),
        )
        return hidden_NH

    @torch.inference_mode()
    def logits(self, hidden_NH: Tensor) -> Tensor:
        hidden_NH = hidden_NH.contiguous()
        logits_NV = torch.empty(len(hidden_NH), self.config.vocab_size)
        self._model.num_threads = torch.get_num_threads()
        self._library.logits(
            ctypes.byref(self._model), len(hidden_NH), _address(hidden_NH), _address(logits_NV)
        )
        return logits_NV

    # -- weights

    def add_difference(self, difference: Difference) -> int:
        """As `Llama.add_difference`."""
        placed = patches_of(difference, self.config)
        packed: list[_Patch] = []
        starts = [0]
        for layer in range(self.config.num_hidden_layers):
            for place in PLACES:
                packed += [self._pack_patch(patch) for patch in placed.get((layer, place), ())]
                starts.append(len(packed))
        self._differences.append(
            _Difference((_Patch * len(packed))(*packed), (ctypes.c_int32 * len(starts))(*starts))
        )
        return len(self._differences) - 1

    def _read(self, state: Mapping[str, Tensor]) -> _Model:
        config, count = self.config, self.config.num_hidden_layers
        layers = [self._read_layer(state, f"model.layers.{i}.") for i in range(count)]
        head = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
        return _Model(
            hidden=config.hidden_size,
            inner=config.intermediate_size,
            num_layers=count,
            num_heads=config.num_attention_heads,
            num_kv_heads=config.num_key_value_heads,
            head_dim=config.head_dim,
            weight_type=_TYPES[self._weights],
            patch_type=_TYPES[self._patch_weights],
            kv_type=_TYPES["float32" if self._kv_dtype is torch.float32 else "float16"],
            eps=config.rms_norm_eps,
            rotary=self._own(rotary_table(config)),
            norm=self._own(state["model.norm.weight"]),
            layers=(_Layer * count)(*layers),
            head=self._pack(state[head], self._weights),
        )

    def _read_layer(self, state: Mapping[str, Tensor], prefix: str) -> _Layer:
        def matrix(*names: str) -> _Matrix:
            parts = [state[f"{prefix}{name}.weight"].float() for name in names]
            weight = torch.cat(parts) if len(parts) > 1 else parts[0]
            return self._pack(weight, self._weights)

        return _Layer(
            attention_norm=self._own(state[f"{prefix}input_layernorm.weight"]),
            mlp_norm=self._own(state[f"{prefix}post_attention_layernorm.weight"]),
            qkv=matrix("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
            out=matrix("self_attn.o_proj"),
            gate_up=matrix("mlp.gate_proj", "mlp.up_proj"),
            down=matrix("mlp.down_proj"),
        )

    def _own(self, tensor: Tensor) -> int:
        """The address of a copy that lives as long as this object."""
        self._owned.append(tensor.to(torch.float32, copy=True).contiguous())
        return self._owned[-1].data_ptr()

    def _pack_patch(self, patch: Patch) -> _Patch:
        a, b = (self._pack(matrix, self._patch_weights) for matrix in (patch.a, patch.b))
        return _Patch(a, b, patch.first)

    def _pack(self, weight: Tensor, kind: CpuWeights) -> _Matrix:
        weight = weight.float().contiguous()
        num_out, num_in = weight.shape
        panel = self._library.panel_width()
        padded, width, scales = -(-num_out // panel) * panel, num_in, None
        if kind in _INTEGERS:
            groups = -(-num_in // self._library.group_length())
            width = groups * self._library.group_length()
            scales = self._new(padded * groups * _SCALE_BYTES)
        data = self._new(padded * width * _BYTES[kind])
        self._library.pack(
            _address(weight),
            num_out,
            num_in,
            _TYPES[kind],
            ctypes.c_void_p(data),
            ctypes.c_void_p(scales),
        )
        return _Matrix(data, scales, num_out, num_in)

    def _new(self, num_bytes: int) -> int:
        """The address of memory that lives as long as this object."""
        self._owned.append(torch.empty(num_bytes, dtype=torch.uint8))
        return self._owned[-1].data_ptr()


def _address(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
