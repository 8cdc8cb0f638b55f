"""Settings to a running engine: starts its process, and reads meanwhile what the API needs."""

from pandagpt.api.serving import MEDIA, EmbeddingModel, ServedModel, Serving
from pandagpt.engine.client import EngineClient
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.messages import Ready, Start
from pandagpt.engine.process import EngineProcess
from pandagpt.errors import OperatorError
from pandagpt.model.folder import ModelFacts, resolve_folder
from pandagpt.settings import Settings


def load_serving(settings: Settings) -> tuple[Serving, Ready]:
    """The engine, and what it says of itself. Raises CheckpointError and OperatorError."""
    folder = resolve_folder(settings.model)
    config = engine_config(settings)
    process = EngineProcess(
        Start(
            str(folder),
            settings.device,
            settings.dtype,
            settings.quantization,
            config,
            settings.max_num_seqs,
            settings.log_format,
        )
    )
    try:
        facts = ModelFacts.read(folder)
        model = _served_model(settings, facts)
        ready = process.wait_until_ready()
    except BaseException:
        process.close()
        raise
    client = EngineClient(process, config.with_rows(ready.max_rows))
    return Serving(client, model, _embedding_model(model.id, facts)), ready


def engine_config(settings: Settings) -> EngineConfig:
    defaults = EngineConfig()
    return EngineConfig(
        max_queue=settings.max_queue,
        max_model_len=settings.max_model_len,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        media_cache_bytes=settings.encoder_cache_bytes,
        num_threads=settings.threads or defaults.num_threads,
    )


def _served_model(settings: Settings, model: ModelFacts) -> ServedModel:
    wanted = settings.max_model_len
    if wanted is not None and wanted > model.max_model_len:
        raise OperatorError(
            f"--max-model-len {wanted} is above this model's {model.max_model_len} tokens"
        )
    return ServedModel(
        id=settings.served_model_name or model.name,
        tokenizer=model.tokenizer,
        max_model_len=wanted or model.max_model_len,
        vocab_size=model.llama.vocab_size,
        fusion=model.fusion,
        modalities=MEDIA if model.reads_media else (),
        chat_template=model.chat_template,
    )


def _embedding_model(chat_id: str, model: ModelFacts) -> EmbeddingModel | None:
    if model.text_tokenizer is None:
        return None
    return EmbeddingModel(f"{chat_id}-embedding", model.embed_dim, model.text_tokenizer)
