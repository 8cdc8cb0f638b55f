"""What `--model` may name, and all that can be known of it without torch.

A name or a folder in; its path, tokenizer and facts out, or CheckpointError, which names the file
that is wrong. A folder is a bundle, or a plain LLaMA as Hugging Face stores it, read as text only.
`loader` reads the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pandagpt.errors import CheckpointError
from pandagpt.media.text import TextTokenizer
from pandagpt.model.chat_template import ChatTemplate, read_chat_template
from pandagpt.model.config import LlamaConfig
from pandagpt.model.hf_config import CONFIG_FILE, read_config, read_json
from pandagpt.model.json_tokenizer import JsonTokenizer
from pandagpt.model.manifest import MANIFEST_FILE, TOKENIZER_FILE, Manifest
from pandagpt.model.prompt import Fusion
from pandagpt.model.tokenizer import SentencePieceTokenizer, Tokenizer

BUNDLED = {"tiny": Path(__file__).parent / "tiny"}
TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_SETTINGS = "tokenizer_config.json"


def resolve_folder(model: str) -> Path:
    """A bundled model's name, a bundle's folder, or a plain LLaMA's."""
    path = BUNDLED.get(model, Path(model))
    if not any((path / name).is_file() for name in (MANIFEST_FILE, CONFIG_FILE)):
        names = ", ".join(BUNDLED)
        raise CheckpointError(
            f"holds no {MANIFEST_FILE}. Give a bundled model ({names}), a folder that "
            f"`pandagpt convert` has written, or a LLaMA model's with its {CONFIG_FILE}",
            path,
        )
    return path


def is_bundle(folder: Path) -> bool:
    return (folder / MANIFEST_FILE).is_file()


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """`chat_template` None: the prompt is PandaGPT's, as it always is for a bundle.

    `embed_dim` and `text_tokenizer` are those of the encoders, where there are any.
    """

    name: str
    llama: LlamaConfig
    tokenizer: Tokenizer
    max_model_len: int
    reads_media: bool
    fusion: Fusion = "sum"
    chat_template: ChatTemplate | None = None
    embed_dim: int = 0
    text_tokenizer: TextTokenizer | None = None

    @classmethod
    def read(cls, folder: Path) -> Self:
        if not is_bundle(folder):
            return cls._of_plain(folder, read_config(folder))
        manifest = Manifest.read(folder)
        tokenizer = load_tokenizer(folder / TOKENIZER_FILE, manifest.llama)
        return cls(
            manifest.name,
            manifest.llama,
            tokenizer,
            manifest.max_model_len,
            reads_media=True,
            fusion=manifest.fusion,
            embed_dim=manifest.imagebind.embed_dim,
            text_tokenizer=text_tokenizer(manifest, tokenizer),
        )

    @classmethod
    def _of_plain(cls, folder: Path, config: LlamaConfig) -> Self:
        return cls(
            folder.resolve().name,
            config,
            load_plain_tokenizer(folder, config),
            config.max_position_embeddings,
            reads_media=False,
            chat_template=read_chat_template(folder, _settings(folder)),
        )


def load_tokenizer(path: Path, llama: LlamaConfig) -> Tokenizer:
    try:
        tokenizer = SentencePieceTokenizer(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", path) from None
    except CheckpointError as error:
        raise CheckpointError(error.message, path) from None
    _check_vocabulary(tokenizer, llama, path)
    return tokenizer


def load_plain_tokenizer(folder: Path, config: LlamaConfig) -> Tokenizer:
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
    _check_vocabulary(tokenizer, config, path)
    return tokenizer


def _check_vocabulary(tokenizer: Tokenizer, llama: LlamaConfig, path: Path) -> None:
    if tokenizer.vocab_size > llama.vocab_size:
        counts = f"{tokenizer.vocab_size} pieces, the language model only {llama.vocab_size} rows"
        raise CheckpointError(f"has {counts}", path)


def _settings(folder: Path) -> Mapping[str, Any]:
    path = folder / TOKENIZER_SETTINGS
    return read_json(path) if path.is_file() else {}


def _named(token: str | Mapping[str, Any] | None) -> str | None:
    """Either the token or, in older folders, an object that holds it."""
    return token["content"] if isinstance(token, Mapping) else token


def text_tokenizer(manifest: Manifest, tokenizer: Tokenizer) -> TextTokenizer:
    length = manifest.imagebind.text_context_length
    if manifest.text_tokenizer == "clip":
        return TextTokenizer.clip(length)
    return TextTokenizer.sentencepiece(tokenizer.encode, tokenizer.vocab_size, length)
