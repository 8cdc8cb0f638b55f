"""PandaGPT whole: encoders, projection, decoder and tokenizers, placed on one device.

Preprocessed media and prompts in, rows of the decoder's input out. Knows no requests, no
cache and no sampling. Axes: B items, E ImageBind's embedding, H the decoder's width, T tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from pandagpt.media.modality import Modality
from pandagpt.media.text import TextTokenizer
from pandagpt.model.decoder import Decoder
from pandagpt.model.imagebind import ImageBind
from pandagpt.model.prompt import Fusion, Prompt
from pandagpt.model.tokenizer import Tokenizer
from pandagpt.model.transfer import sent


@dataclass(frozen=True, slots=True)
class Encoders:
    """What turns media into rows of the decoder. `gains`: see `Manifest`."""

    imagebind: ImageBind
    projection: nn.Linear
    text_tokenizer: TextTokenizer
    gains: Mapping[Modality, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Variant:
    """Another model on the same weights and encoders: `difference` is its number in the decoder.

    Without `projection` it reads text only. `gains`: see `Manifest`.
    """

    difference: int
    projection: nn.Linear | None = None
    gains: Mapping[Modality, float] = field(default_factory=dict)


class PandaGPT:
    """Without `encoders` it reads text only: a plain LLaMA.

    `variants` are other models, by name; where a name is asked for, the empty one means the
    model whose adapter is merged into the weights.
    """

    def __init__(
        self,
        name: str,
        llama: Decoder,
        tokenizer: Tokenizer,
        max_model_len: int,
        encoders: Encoders | None = None,
        fusion: Fusion = "sum",
        variants: Mapping[str, Variant] | None = None,
    ) -> None:
        self.name = name
        self.llama = llama
        self.tokenizer = tokenizer
        self.max_model_len = max_model_len
        self.fusion: Fusion = fusion
        self.variants = variants or {}
        self._encoders = encoders
        self.device = llama.device
        self.dtype = llama.dtype

    @property
    def reads_media(self) -> bool:
        return self._encoders is not None

    @property
    def encoders(self) -> Encoders:
        assert self._encoders, "media of a request to a model without encoders are refused before"
        return self._encoders

    @torch.inference_mode()
    def embed_media(self, modality: Modality, batch: np.ndarray) -> Tensor:
        """[B, ...] as `media.load` shapes an item (text: token ids) -> [B, E], by ImageBind."""
        dtype = torch.int64 if modality is Modality.TEXT else self.dtype
        inputs = sent(torch.tensor(batch), self.device).to(dtype)
        return self.encoders.imagebind.encode(modality, inputs)

    def gain_of(self, modality: Modality, name: str = "") -> float:
        """What a medium's embedding is multiplied by before it is projected."""
        owner = self.variants[name] if name else self.encoders
        return owner.gains.get(modality, 1.0)

    @torch.inference_mode()
    def project(self, embedding_BE: Tensor, name: str = "") -> Tensor:
        projection = self.variants[name].projection if name else self.encoders.projection
        assert projection, "media of a request to a model without a projection are refused before"
        return projection(embedding_BE)

    @torch.inference_mode()
    def embed_prompt(self, prompt: Prompt, rows: Sequence[Tensor], name: str = "") -> Tensor:
        """[T, H]. `rows[i]` is medium i's embedding [E] on the host, gain applied; a slot is its
        media's projected sum.

        Each is projected before the sum, so the projection's bias counts once a medium, as in the
        reference (model facts, 3.2).
        """
        ids_T = sent(torch.tensor(prompt.token_ids), self.device)
        embeds_TH = self.llama.embed(ids_T)
        if prompt.slots:
            projected = self.project(sent(torch.stack(list(rows)), self.device), name)
        for position, slot in prompt.slots:
            embeds_TH[position] = projected[list(slot.media)].sum(0)
        return embeds_TH
