"""How large the measured model is, how much of it is measured, and what is hoped for.

Goals were reckoned on paper; none has been measured.
"""

from dataclasses import dataclass, field

from pandagpt.media.modality import Modality
from pandagpt.model.config import EncoderConfig, ImageBindConfig, LlamaConfig

SHAPES = {
    Modality.IMAGE: (3, 224, 224),
    Modality.VIDEO: (15, 3, 2, 224, 224),
    Modality.AUDIO: (3, 1, 128, 204),
    Modality.DEPTH: (1, 224, 224),
    Modality.THERMAL: (1, 224, 224),
    Modality.IMU: (6, 2000),
}
TOY_LLAMA = LlamaConfig(64, 160, 2, 4, 512, 4)
TOY_ENCODERS = ImageBindConfig(*[EncoderConfig(32, 2, 2)] * 6, embed_dim=32, text_vocab_size=100)


@dataclass(frozen=True, slots=True)
class Goals:
    """On one H200; of nothing else anything is said."""

    decode_ms: dict[int, float] = field(default_factory=dict)
    prefill_tokens_per_second: float | None = None
    files_per_second: dict[Modality, float] = field(default_factory=dict)
    first_token_ms: float | None = None
    tokens_per_second: float | None = None
    loss_percent: float | None = None


@dataclass(frozen=True, slots=True)
class Preset:
    """`rows` decode at `context` tokens; `contexts` are for `growth_rows` rows. `streams` ask
    about a picture each, in `question_tokens`, and get `answer_tokens`."""

    llama: LlamaConfig
    imagebind: ImageBindConfig = field(default_factory=ImageBindConfig)
    goals: Goals = field(default_factory=Goals)
    calibration: int = 8192
    rows: tuple[int, ...] = (1, 8, 32, 64, 128)
    context: int = 512
    contexts: tuple[int, ...] = (128, 512, 1024, 2000)
    growth_rows: int = 32
    prompts: tuple[int, ...] = (64, 512, 2048)
    batch: int = 32
    repeats: int = 20
    streams: int = 64
    question_tokens: int = 60
    answer_tokens: int = 128
    long_prompt: int = 1536
    watched_seconds: float = 3.0
    peer_rows: tuple[int, ...] = (1, 32, 128)


SEVEN_B = Goals(
    decode_ms={1: 4.2, 32: 7.0, 128: 15.0},
    prefill_tokens_per_second=35_000,
    files_per_second={Modality.IMAGE: 1100, Modality.AUDIO: 2500, Modality.VIDEO: 70},
    first_token_ms=45,
    tokens_per_second=6000,
    loss_percent=10,
)
PRESETS = {
    "7b": Preset(LlamaConfig(4096, 11008, 32, 32, 32001, 32), goals=SEVEN_B),
    # Fewer rows: keys and values of more would not fit beside the weights on a GPU of 80 GB.
    "13b": Preset(
        LlamaConfig(5120, 13824, 40, 40, 32001, 40),
        rows=(1, 8, 32, 64),
        streams=32,
        peer_rows=(1, 32),
    ),
    "toy": Preset(
        TOY_LLAMA,
        TOY_ENCODERS,
        calibration=256,
        rows=(1, 4),
        context=32,
        contexts=(16, 32),
        growth_rows=2,
        prompts=(16, 64),
        batch=2,
        repeats=3,
        streams=4,
        question_tokens=8,
        answer_tokens=8,
        long_prompt=64,
        watched_seconds=0.3,
        peer_rows=(1, 2),
    ),
}
