"""Settings to a running engine: resolves the bundle, loads it, starts the worker."""

from pandagpt.api.serving import MEDIA, ServedModel, Serving
from pandagpt.cli.device import choose
from pandagpt.cli.exit import OperatorError
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.worker import Worker
from pandagpt.model.chat_template import ChatTemplate
from pandagpt.model.checkpoint import resolve_bundle
from pandagpt.model.folder import chat_template_of, load_model
from pandagpt.model.pandagpt import PandaGPT
from pandagpt.settings import Settings

WARM_UP_TIMEOUT_SECONDS = 600


def load_serving(settings: Settings) -> tuple[Serving, str]:
    """The engine, ready, and a line about what it runs on. Raises CheckpointError."""
    device, dtype = choose(settings.device, settings.dtype)
    folder = resolve_bundle(settings.model)
    model = load_model(folder, device, dtype)
    config = engine_config(settings)
    served = _served_model(settings, model, chat_template_of(folder))
    worker = Worker(model, config)
    worker.start()
    if not worker.wait_until_ready(WARM_UP_TIMEOUT_SECONDS):
        raise OperatorError("the engine did not start; the log says why")
    hardware = f"{device}, {_threads(config.num_threads)}, {str(dtype).removeprefix('torch.')}"
    return Serving(worker, served), hardware


def engine_config(settings: Settings) -> EngineConfig:
    defaults = EngineConfig()
    return EngineConfig(
        max_rows=settings.max_num_seqs,
        max_queue=settings.max_queue,
        # Every answer takes one token of a step; twice as many leave room for prompts.
        max_step_tokens=max(defaults.max_step_tokens, 2 * settings.max_num_seqs),
        max_model_len=settings.max_model_len,
        media_cache_bytes=settings.encoder_cache_bytes,
        num_threads=settings.threads or defaults.num_threads,
    )


def _served_model(
    settings: Settings, model: PandaGPT, template: ChatTemplate | None
) -> ServedModel:
    wanted = settings.max_model_len
    if wanted is not None and wanted > model.max_model_len:
        raise OperatorError(
            f"--max-model-len {wanted} is above this model's {model.max_model_len} tokens"
        )
    return ServedModel(
        id=settings.served_model_name or model.name,
        tokenizer=model.tokenizer,
        max_model_len=wanted or model.max_model_len,
        vocab_size=model.llama.config.vocab_size,
        fusion=model.fusion,
        modalities=MEDIA if model.reads_media else (),
        chat_template=template,
    )


def _threads(number: int) -> str:
    return "1 thread" if number == 1 else f"{number} threads"
