"""Every setting of the server: flags, environment variables `PANDAGPT_*`, defaults.

One frozen value, built by the command line (flag before environment before default) and
handed down. No other module reads the environment.
"""

import os
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from pandagpt.errors import OperatorError

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})

Quantization = Literal["auto", "none", "fp16", "int16", "int8"]

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE


def explain(error: ValueError) -> str:
    """What is wrong with settings, by their flags; other errors in their own words."""
    if not isinstance(error, ValidationError):
        return str(error)
    wrong = (
        f"--{str(item['loc'][0]).replace('_', '-')} {item['input']}: {item['msg'].lower()}"
        for item in error.errors()
    )
    return "; ".join(wrong)


def _keys_of(path: Path) -> list[str]:
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise OperatorError(f"--api-key-file {path} cannot be read") from None
    keys = [key for key in (line.partition("#")[0].strip() for line in lines) if key]
    if not keys:
        raise OperatorError(f"--api-key-file {path} holds no key")
    return keys


def injected_faults() -> str:
    """For tests alone, so it is no setting: what `engine/faults` is to do wrong on purpose."""
    return os.environ.get("PANDAGPT_FAULTS", "")


class Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field("tiny", description="Bundled model's name, or a converted model's folder.")
    served_model_name: str | None = Field(
        None, description="Name clients ask for. Default: the model's own."
    )
    adapter: tuple[str, ...] = Field(
        (),
        description="NAME=FOLDER: another model out of --model's base and the adapter in a folder; "
        "repeatable, in the environment separated by blanks.",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: half precision on CUDA, float32 on CPU."
    )
    quantization: Quantization = Field(
        "auto",
        description="How weights are stored on CPU, by a C++ compiler if there is one. auto: int16 "
        "on x86, else fp16, which are as exact; int8: half of that and faster, but some answers "
        "differ.",
    )
    enforce_eager: bool = Field(
        False,
        description="On CUDA, run every step by torch alone: no captured steps, no own kernels.",
    )
    threads: int | None = Field(
        None, ge=1, le=1024, description="CPU threads for the model. Default: all cores but one."
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port; 0 picks a free one.")
    api_key: SecretStr | None = Field(
        None, description="Key that clients must send; several separated by commas."
    )
    api_key_file: Path | None = Field(
        None, description="File with more keys, one a line; # begins a comment."
    )
    max_concurrent_per_key: int = Field(
        0,
        ge=0,
        description="Requests of one key at once, of all where no keys are set; 0 is any number.",
    )
    requests_per_minute: int = Field(
        0, ge=0, description="Requests of one key, of all where no keys are set; 0 is any number."
    )
    protect_metrics: bool = Field(False, description="Ask for the key at /metrics too.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else JSON lines."
    )

    max_num_seqs: int | None = Field(
        None, ge=1, le=4096, description="Answers generated at once. Default: by free memory."
    )
    max_num_batched_tokens: int | None = Field(
        None,
        ge=1,
        le=1 << 20,
        description="Tokens of one step, prompts and answers together; at least two for each "
        "answer. Default: 512, on CUDA 2048.",
    )
    max_step_s: float | None = Field(
        None,
        gt=0,
        description="Time of a step in which prompts are read beside running answers: more reads "
        "them sooner, less streams more evenly. Default: 0.25, on CUDA 0.025.",
    )
    max_queue: int = Field(256, ge=0, description="Requests that may wait; more get a 503.")
    max_queue_tokens: int = Field(
        1 << 18, ge=1, description="Tokens of the prompts that wait; with more than that, a 503."
    )
    max_queue_s: float = Field(
        30, gt=0, description="Longest time that a request waits for its turn, then a 503."
    )
    request_timeout_s: float = Field(
        600, gt=0, description="Longest time that one answer may take to generate."
    )
    drain_s: float = Field(
        30, ge=0, description="Time that open requests have to end once the server must."
    )
    max_model_len: int | None = Field(
        None, ge=16, description="Context length in tokens. Default: the model's own."
    )
    step_timeout_s: float = Field(
        300,
        ge=0,
        description="The engine is restarted when a step takes longer, or it is silent so long. "
        "0: never.",
    )
    prefix_cache_mb: int = Field(
        256, ge=0, description="Keys and values of earlier prompts and answers kept for reuse."
    )
    encoder_cache_mb: int = Field(64, ge=0, description="Media embeddings kept for reuse.")

    max_body_mb: int = Field(64, ge=1, description="Largest request body.")
    head_timeout_s: float = Field(
        15, gt=0, description="Time for the head of a request, and for a new connection's first."
    )
    body_timeout_s: float = Field(
        30, gt=0, description="Time for the body of a request; a second more for each 50 kB."
    )
    client_stall_s: float = Field(
        60, gt=0, description="A client that takes nothing of its answer for so long is let go."
    )
    max_media_per_request: int = Field(32, ge=0)
    max_media_mb: int = Field(32, ge=1, description="Largest single medium.")
    max_image_pixels: int = Field(50_000_000, ge=1)
    max_audio_s: float = Field(600, gt=0)
    max_video_s: float = Field(600, gt=0)
    max_imu_rows: int = Field(100_000, ge=1)
    allowed_media_domains: str | None = Field(
        None, description="Hosts that media are fetched from, by commas; HOST:PORT for other ports."
    )
    allow_media_urls: bool = Field(
        False, description="Fetch media from any host of the public Internet."
    )
    media_fetch_timeout: float = Field(10, gt=0, description="Seconds for one medium, in all.")
    allowed_local_media_path: Path | None = Field(
        None, description="Folder of this machine whose files may be named as file:// URLs."
    )
    num_decoders: int = Field(2, ge=1, le=256, description="Media files decoded at once.")
    max_decode_s: float = Field(
        30, gt=0, description="Processor time for decoding one medium; waiting counts a quarter."
    )
    max_decode_mb: int = Field(1024, ge=64, description="Memory for decoding one medium.")
    max_decoded_mb: int = Field(
        256, ge=1, description="Decoded media that wait for the encoder; more wait undecoded."
    )
    max_responses_mb: int = Field(
        256, ge=1, description="Answers of /v1/responses kept with their input, all together."
    )
    response_ttl_s: float = Field(
        3600, gt=0, description="How long one is kept after it was last used."
    )
    max_files_gb: float = Field(4, gt=0, description="All uploaded files together.")
    max_files_gb_per_key: float = Field(
        1, gt=0, description="Uploaded files of one API key, where keys are set."
    )
    file_ttl_s: int = Field(86_400, ge=1, description="Longest time that a file is kept.")
    files_dir: Path | None = Field(
        None,
        description="Folder of uploaded files, which then survive a restart. Default: a private "
        "temporary folder that ends with the server.",
    )
    sse_keep_alive_interval: float = Field(
        15, ge=0, description="Seconds of silence in a stream before a comment; 0 is never."
    )

    @field_validator("adapter")
    @classmethod
    def _are_named(cls, adapters: tuple[str, ...]) -> tuple[str, ...]:
        for text in adapters:
            if not all(text.partition("=")):
                raise ValueError(f"{text!r} is not name=folder")
        return adapters

    @property
    def adapters(self) -> tuple[tuple[str, str], ...]:
        """Names and folders."""
        parts = (text.partition("=") for text in self.adapter)
        return tuple((name, folder) for name, _, folder in parts)

    @cached_property
    def api_keys(self) -> tuple[str, ...]:
        """Raises OperatorError for a file that holds none: the server would be open to all."""
        text = self.api_key.get_secret_value() if self.api_key else ""
        keys = [key for key in (part.strip() for part in text.split(",")) if key]
        return (*keys, *(_keys_of(self.api_key_file) if self.api_key_file else ()))

    @property
    def media_domains(self) -> tuple[str, ...]:
        names = (self.allowed_media_domains or "").lower().split(",")
        return tuple(name.strip() for name in names if name.strip())

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_HOSTS

    @property
    def max_body_bytes(self) -> int:
        return self.max_body_mb * MEBIBYTE

    @property
    def max_media_bytes(self) -> int:
        return self.max_media_mb * MEBIBYTE

    @property
    def max_decoded_bytes(self) -> int:
        return self.max_decoded_mb * MEBIBYTE

    @property
    def max_decode_bytes(self) -> int:
        return self.max_decode_mb * MEBIBYTE

    @property
    def max_responses_bytes(self) -> int:
        return self.max_responses_mb * MEBIBYTE

    @property
    def max_files_bytes(self) -> int:
        return int(self.max_files_gb * GIBIBYTE)

    @property
    def max_files_bytes_per_caller(self) -> int:
        """Without keys all are one caller, who may fill the whole."""
        share = self.max_files_gb_per_key if self.api_keys else self.max_files_gb
        return int(share * GIBIBYTE)

    @property
    def prefix_cache_bytes(self) -> int:
        return self.prefix_cache_mb * MEBIBYTE

    @property
    def encoder_cache_bytes(self) -> int:
        return self.encoder_cache_mb * MEBIBYTE
