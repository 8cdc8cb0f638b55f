"""A bundle's `manifest.json`: what the model is, and size and SHA-256 of each of its files.

JSON in, a frozen value out, and back. Reads no weights and needs no torch.
"""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, get_args

from pandagpt.errors import CheckpointError
from pandagpt.media.modality import Modality
from pandagpt.media.text import TextVocabulary
from pandagpt.model.config import ImageBindConfig, LlamaConfig, LoraConfig
from pandagpt.model.prompt import Fusion

FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
IMAGEBIND_FILE = "imagebind.safetensors"
ADAPTER_FILE = "adapter.safetensors"
TOKENIZER_FILE = "tokenizer.model"
LLM_FILE = "llm.safetensors"


@dataclass(frozen=True, slots=True)
class FileFacts:
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True, slots=True)
class Manifest:
    """`gains` multiply a medium's embedding before the projection; 1.0 where absent.

    ImageBind scales some modalities by 5 to 20: added up as they are, they drown the rest.
    """

    name: str
    imagebind: ImageBindConfig
    llama: LlamaConfig
    lora: LoraConfig | None
    text_tokenizer: TextVocabulary
    fusion: Fusion
    max_model_len: int
    gains: Mapping[Modality, float] = field(default_factory=dict)
    files: Mapping[str, FileFacts] = field(default_factory=dict)

    @classmethod
    def read(cls, bundle: Path) -> Self:
        path = bundle / MANIFEST_FILE
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            check_seal(data)
            return cls.from_dict(data)
        except OSError as error:
            raise CheckpointError(f"cannot be read ({error.strerror})", path) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"is not a bundle's manifest ({error})", path) from None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        return cls(
            name=data["name"],
            imagebind=ImageBindConfig.from_dict(data["imagebind"]),
            llama=LlamaConfig.from_dict(data["llama"]),
            lora=_lora(data["lora"]),
            text_tokenizer=_one_of(get_args(TextVocabulary), data["text_tokenizer"]),
            fusion=_one_of(get_args(Fusion), data["fusion"]),
            max_model_len=data["max_model_len"],
            gains={Modality(name): float(gain) for name, gain in data["gains"].items()},
            files={name: FileFacts(**facts) for name, facts in data["files"].items()},
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "format": FORMAT_VERSION,
            "name": self.name,
            "text_tokenizer": self.text_tokenizer,
            "fusion": self.fusion,
            "max_model_len": self.max_model_len,
            "gains": {modality.value: gain for modality, gain in self.gains.items()},
            "imagebind": self.imagebind.to_dict(),
            "llama": self.llama.to_dict(),
            "lora": asdict(self.lora) if self.lora else None,
            "files": {name: asdict(facts) for name, facts in self.files.items()},
        }

    def write(self, bundle: Path) -> None:
        data = self.to_dict()
        text = json.dumps(data | {"seal": seal(data)}, indent=1) + "\n"
        (bundle / MANIFEST_FILE).write_text(text, encoding="utf-8")

    @property
    def llm_files(self) -> list[str]:
        """One file, or numbered ones (llm-00001.safetensors, ...)."""
        return sorted(name for name in self.files if name.startswith("llm"))

    def verify(self, bundle: Path) -> None:
        """Sizes first, which is quick, then every digest, several files at once."""
        if absent := {IMAGEBIND_FILE, ADAPTER_FILE, TOKENIZER_FILE} - self.files.keys():
            raise CheckpointError(f"does not list {sorted(absent)[0]}", bundle / MANIFEST_FILE)
        if not self.llm_files:
            raise CheckpointError("lists no llm*.safetensors", bundle / MANIFEST_FILE)
        for name, facts in self.files.items():
            _check_size(bundle / name, facts)
        with ThreadPoolExecutor() as threads:
            list(
                threads.map(lambda name: _check_digest(bundle / name, self.files[name]), self.files)
            )

    def verify_file(self, bundle: Path, name: str) -> None:
        """One file alone."""
        if name not in self.files:
            raise CheckpointError(f"does not list {name}", bundle / MANIFEST_FILE)
        _check_size(bundle / name, self.files[name])
        _check_digest(bundle / name, self.files[name])


def seal(data: Mapping[str, Any]) -> str:
    """A digest of the manifest itself, so that a changed digit in a config is found too."""
    plain = {key: value for key, value in data.items() if key != "seal"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def check_seal(data: Mapping[str, Any]) -> None:
    if data["format"] != FORMAT_VERSION:
        raise ValueError(f"format {data['format']}; this version reads {FORMAT_VERSION}")
    if data["seal"] != seal(data):
        raise ValueError(f"its contents have SHA-256 {seal(data)}, its seal says {data['seal']}")
    if strange := [name for name in data["files"] if Path(name).name != name]:
        raise ValueError(f"{strange[0]!r} is not a plain file name")


def _one_of(choices: tuple[Any, ...], value: str) -> Any:
    if value not in choices:
        raise ValueError(f"{value!r} is none of {', '.join(choices)}")
    return value


def _lora(data: Mapping[str, Any] | None) -> LoraConfig | None:
    return LoraConfig(data["r"], data["alpha"], tuple(data["targets"])) if data else None


def _check_size(path: Path, facts: FileFacts) -> None:
    if not path.is_file():
        raise CheckpointError("is missing; the manifest lists it", path)
    if (size := path.stat().st_size) != facts.bytes:
        raise CheckpointError(f"has {size} bytes, the manifest says {facts.bytes}", path)


def _check_digest(path: Path, facts: FileFacts) -> None:
    if (found := FileFacts.of(path).sha256) != facts.sha256:
        raise CheckpointError(f"has SHA-256 {found}, the manifest says {facts.sha256}", path)
