"""Settings to a running engine: starts its process, and reads meanwhile what the API needs."""

from pathlib import Path

from pandagpt.api.serving import ServedModel, Serving
from pandagpt.engine.client import EngineClient
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.messages import Start
from pandagpt.engine.process import EngineProcess
from pandagpt.errors import OperatorError
from pandagpt.model.bundle import load_tokenizer, resolve_bundle
from pandagpt.model.manifest import TOKENIZER_FILE, Manifest
from pandagpt.settings import Settings


def load_serving(settings: Settings) -> tuple[Serving, str]:
    """The engine, ready, and a line about what it runs on. Raises CheckpointError."""
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
            settings.log_format,
        )
    )
    try:
        model = _served_model(settings, bundle, manifest)
        hardware = process.wait_until_ready().hardware
    except BaseException:
        process.close()
        raise
    return Serving(EngineClient(process, config), model), hardware


def engine_config(settings: Settings) -> EngineConfig:
    defaults = EngineConfig()
    return EngineConfig(
        max_rows=settings.max_num_seqs,
        max_queue=settings.max_queue,
        # Every answer takes one token of a step; twice as many leave room for prompts.
        max_step_tokens=max(defaults.max_step_tokens, 2 * settings.max_num_seqs),
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
