"""What `--adapter` may name, and all that can be known of it without torch.

A bundle's folder, of which only manifest and adapter are read, or one as PandaGPT publishes its
own. `adapter` reads the weights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pandagpt.errors import CheckpointError
from pandagpt.media.modality import Modality
from pandagpt.model.manifest import ADAPTER_FILE, MANIFEST_FILE, Manifest
from pandagpt.model.prompt import Fusion

PUBLISHED_FILE = "pytorch_model.pt"


@dataclass(frozen=True, slots=True)
class VariantSource:
    """A model beside a bundle's own, on the same weights: with another adapter, or with none."""

    name: str
    folder: str | None


@dataclass(frozen=True, slots=True)
class AdapterFolder:
    path: Path
    manifest: Manifest | None

    @classmethod
    def open(cls, path: Path) -> Self:
        if (path / MANIFEST_FILE).is_file():
            return cls(path, Manifest.read(path))
        if (path / PUBLISHED_FILE).is_file():
            return cls(path, None)
        message = f"holds no adapter: neither {MANIFEST_FILE} with {ADAPTER_FILE}"
        raise CheckpointError(f"{message} nor PandaGPT's {PUBLISHED_FILE}", path)

    @property
    def weights(self) -> Path:
        return self.path / (ADAPTER_FILE if self.manifest else PUBLISHED_FILE)

    @property
    def fusion(self) -> Fusion:
        return self.manifest.fusion if self.manifest else "sum"

    @property
    def gains(self) -> Mapping[Modality, float]:
        return self.manifest.gains if self.manifest else {}
