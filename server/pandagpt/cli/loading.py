"""Settings to a running engine: starts its process, and reads meanwhile what the API needs."""

from pathlib import Path

from pandagpt.api.serving import ServedModel, Serving
from pandagpt.engine.client import EngineClient
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.messages import Ready, Start
from pandagpt.engine.process import EngineProcess
from pandagpt.errors import OperatorError
from pandagpt.model.bundle import load_tokenizer, resolve_bundle
from pandagpt.model.manifest import TOKENIZER_FILE, Manifest
from pandagpt.settings import Settings


def load_serving(settings: Settings) -> tuple[Serving, Ready]:
    """The engine, and what it says of itself. Raises CheckpointError and OperatorError."""
    bundle = resolve_bundle(settings.model)
    manifest = Manifest.read(bundle)
    _check_context(settings, manifest)
    config = engine_config(settings)
    process = EngineProcess(
        Start(
            str(bundle),
            settings.device,
            settings.dtype,
            settings.quantization,
            config,
            settings.max_num_seqs,
            settings.log_format,
        )
    )
    try:
        model = _served_model(settings, bundle, manifest)
        ready = process.wait_until_ready()
    except BaseException:
        process.close()
        raise
    return Serving(EngineClient(process, config.with_rows(ready.max_rows)), model), ready


def engine_config(settings: Settings) -> EngineConfig:
    defaults = EngineConfig()
    return EngineConfig(
        max_queue=settings.max_queue,
        max_model_len=settings.max_model_len,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        media_cache_bytes=settings.encoder_cache_bytes,
        num_threads=settings.threads or defaults.num_threads,
    )


def _check_context(settings: Settings, manifest: Manifest) -> None:
    wanted = settings.max_model_len
    if wanted is not None and wanted > manifest.max_model_len:
        raise OperatorError(
            f"--max-model-len {wanted} is above this model's {manifest.max_model_len} tokens"
        )


def _served_model(settings: Settings, bundle: Path, manifest: Manifest) -> ServedModel:
    return ServedModel(
        id=settings.served_model_name or manifest.name,
        tokenizer=load_tokenizer(bundle / TOKENIZER_FILE, manifest.llama),
        max_model_len=settings.max_model_len or manifest.max_model_len,
        vocab_size=manifest.llama.vocab_size,
        fusion=manifest.fusion,
    )
