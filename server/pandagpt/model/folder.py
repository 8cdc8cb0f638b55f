"""What `--model` may name: a bundle, or a plain LLaMA as Hugging Face stores it, read as text only.

A folder in, a model on its device out, or CheckpointError, which names the file that is wrong.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pandagpt.errors import CheckpointError
from pandagpt.model.chat_template import ChatTemplate, read_chat_template
from pandagpt.model.checkpoint import check_vocabulary, load_bundle, load_tokenizer
from pandagpt.model.config import LlamaConfig
from pandagpt.model.json_tokenizer import JsonTokenizer
from pandagpt.model.llama import Llama
from pandagpt.model.manifest import MANIFEST_FILE, TOKENIZER_FILE
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.model.tokenizer import Tokenizer
from pandagpt.model.vicuna import Vicuna, read_json

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_SETTINGS = "tokenizer_config.json"


def load_model(folder: Path, device: str, dtype: torch.dtype) -> PandaGPT:
    if (folder / MANIFEST_FILE).is_file():
        return load_bundle(folder, device, dtype)
    return _load_plain(folder, device, dtype)


def chat_template_of(folder: Path) -> ChatTemplate | None:
    """None: the prompt is PandaGPT's, as it always is for a bundle."""
    if (folder / MANIFEST_FILE).is_file():
        return None
    return read_chat_template(folder, _settings(folder))


def _load_plain(folder: Path, device: str, dtype: torch.dtype) -> PandaGPT:
    source = Vicuna.open(folder, None)
    tokenizer = _tokenizer(folder, source.config)
    llama = Llama(source.config, device, dtype)
    llama.load(source.base)
    source.close()
    return PandaGPT(folder.resolve().name, llama, tokenizer, source.config.max_position_embeddings)


def _tokenizer(folder: Path, config: LlamaConfig) -> Tokenizer:
    if (folder / TOKENIZER_FILE).is_file():
        return load_tokenizer(folder / TOKENIZER_FILE, config)
    path = folder / TOKENIZER_JSON
    if not path.is_file():
        raise CheckpointError(f"holds neither {TOKENIZER_FILE} nor {TOKENIZER_JSON}", folder)
    settings = _settings(folder)
    bos = _named(settings.get("bos_token")) or config.bos_token_id
    eos = _named(settings.get("eos_token")) or config.eos_token_id
    try:
        tokenizer = JsonTokenizer(path.read_bytes(), bos, eos)
    except CheckpointError as error:
        raise CheckpointError(error.message, path) from None
    check_vocabulary(tokenizer, config, path)
    return tokenizer


def _settings(folder: Path) -> Mapping[str, Any]:
    path = folder / TOKENIZER_SETTINGS
    return read_json(path) if path.is_file() else {}


def _named(token: str | Mapping[str, Any] | None) -> str | None:
    """Either the token or, in older folders, an object that holds it."""
    return token["content"] if isinstance(token, Mapping) else token
