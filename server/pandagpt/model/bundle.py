"""Where a bundle lies, and its tokenizer: what can be known of it without torch.

A name or a folder in, a bundle's folder out. `checkpoint` reads the weights.
"""

from pathlib import Path

from pandagpt.errors import CheckpointError
from pandagpt.model.config import LlamaConfig
from pandagpt.model.manifest import MANIFEST_FILE
from pandagpt.model.tokenizer import Tokenizer

BUNDLED = {"tiny": Path(__file__).parent / "tiny"}


def resolve_bundle(model: str) -> Path:
    """A bundled model's name, or a bundle's directory."""
    path = BUNDLED.get(model, Path(model))
    if not (path / MANIFEST_FILE).is_file():
        names = ", ".join(BUNDLED)
        raise CheckpointError(
            f"holds no {MANIFEST_FILE}. Give a bundled model ({names}) or a folder that "
            "`pandagpt convert` has written",
            path,
        )
    return path


def load_tokenizer(path: Path, llama: LlamaConfig) -> Tokenizer:
    try:
        tokenizer = Tokenizer(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", path) from None
    except CheckpointError as error:
        raise CheckpointError(error.message, path) from None
    if tokenizer.vocab_size > llama.vocab_size:
        counts = f"{tokenizer.vocab_size} pieces, the language model only {llama.vocab_size} rows"
        raise CheckpointError(f"has {counts}", path)
    return tokenizer
