"""`config.json` of a LLaMA as Hugging Face stores it: what the decoder needs of it, or a refusal.

Reads no weights and needs no torch.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pandagpt.errors import CheckpointError
from pandagpt.model.config import LlamaConfig

CONFIG_FILE = "config.json"
# Fields of config.json that change the arithmetic, and all that the decoder offers of them.
PLAIN_LLAMA: Mapping[str, Any] = {
    "model_type": "llama",
    "hidden_act": "silu",
    "rope_scaling": None,
    "attention_bias": False,
    "mlp_bias": False,
    "quantization_config": None,
}
PLAIN_ROPE: Mapping[str, Any] = {"rope_type": "default", "partial_rotary_factor": 1.0}


def read_config(folder: Path) -> LlamaConfig:
    path = folder / CONFIG_FILE
    data = read_json(path)
    _refuse_unlike(PLAIN_LLAMA, data, path)
    rope = data.get("rope_parameters") or {}  # as transformers 5 writes it
    _refuse_unlike(PLAIN_ROPE, rope, path)
    try:
        config = LlamaConfig.from_dict(_ends(data) | rope)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"is not a LLaMA model's config ({error})", path) from None
    _refuse_unlike({"head_dim": config.head_dim}, data, path)
    return config


def _refuse_unlike(plain: Mapping[str, Any], data: Mapping[str, Any], path: Path) -> None:
    for field, only in plain.items():
        if data.get(field) not in (None, only):
            message = f"{field} is {data[field]!r}; only {only!r} is supported"
            raise CheckpointError(message, path)


def _ends(data: Mapping[str, Any]) -> dict[str, Any]:
    """Some models end a text in several ways; the first is the one of the base model."""
    end = data.get("eos_token_id")
    return {**data, "eos_token_id": end[0] if isinstance(end, list) else end}


def read_json(path: Path) -> Mapping[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", path) from None
    except ValueError as error:
        raise CheckpointError(f"is not JSON ({error})", path) from None
