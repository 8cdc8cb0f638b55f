"""Settings to what runs beside the server: the engine, and the decoders of media."""

from dataclasses import replace
from pathlib import Path

from pandagpt.api.serving import MEDIA, EmbeddingModel, ServedModel, Serving
from pandagpt.engine import faults
from pandagpt.engine.client import EngineClient
from pandagpt.engine.config import EngineConfig
from pandagpt.engine.messages import Ready, Start
from pandagpt.engine.supervisor import SupervisedEngine
from pandagpt.errors import OperatorError
from pandagpt.logs import get_logger
from pandagpt.media.decoder import DecoderPool
from pandagpt.media.limits import MediaLimits
from pandagpt.model.adapter_folder import AdapterFolder, VariantSource
from pandagpt.model.folder import ModelFacts, resolve_folder
from pandagpt.settings import Settings, injected_faults

log = get_logger()


def load_serving(settings: Settings) -> tuple[Serving, Ready]:
    """The engine, and what it says of itself. Raises CheckpointError and OperatorError."""
    folder = resolve_folder(settings.model)
    facts = ModelFacts.read(folder)
    model = _served_model(settings, facts)
    embedding_model = _embedding_model(model.id, facts)
    variants = _variants(settings, model, embedding_model)
    config = engine_config(settings)
    process = SupervisedEngine(
        Start(
            str(folder),
            settings.device,
            settings.dtype,
            settings.quantization,
            config,
            settings.max_num_seqs,
            settings.log_format,
            tuple(source for source, _ in variants),
            _faults(),
            settings.enforce_eager,
            settings.max_num_batched_tokens,
            settings.max_step_s,
        )
    )
    try:
        ready = process.wait_until_ready()
    except BaseException:
        process.close()
        raise
    client = EngineClient(process, config.with_rows(ready.max_rows))
    others = tuple(other for _, other in variants)
    if others:
        model = replace(model, parent=others[0].id)
    return Serving(client, model, embedding_model, others, ready.max_rows), ready


def decoder_pool(settings: Settings) -> DecoderPool:
    limits = MediaLimits(
        max_media_bytes=settings.max_media_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_audio_seconds=settings.max_audio_s,
        max_video_seconds=settings.max_video_s,
        max_imu_rows=settings.max_imu_rows,
        max_decode_seconds=settings.max_decode_s,
        max_decode_bytes=settings.max_decode_bytes,
    )
    return DecoderPool(limits, settings.num_decoders)


def engine_config(settings: Settings) -> EngineConfig:
    defaults = EngineConfig()
    return EngineConfig(
        max_queue=settings.max_queue,
        max_queue_tokens=settings.max_queue_tokens,
        max_queue_seconds=settings.max_queue_s,
        max_request_seconds=settings.request_timeout_s,
        max_model_len=settings.max_model_len,
        prefix_cache_bytes=settings.prefix_cache_bytes,
        step_timeout_seconds=settings.step_timeout_s,
        media_cache_bytes=settings.encoder_cache_bytes,
        num_threads=settings.threads or defaults.num_threads,
    )


def _faults() -> str:
    if text := injected_faults():
        faults.parse(text)
        log.warning("this server makes faults on purpose", faults=text)
    return text


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


def _variants(
    settings: Settings, model: ServedModel, embedding_model: EmbeddingModel | None
) -> list[tuple[VariantSource, ServedModel]]:
    """The base without its adapter, which reads text only, and with each of the others."""
    if embedding_model is None:
        if settings.adapter:
            message = f"--adapter needs a PandaGPT as --model; {settings.model} is a plain LLaMA"
            raise OperatorError(message)
        return []
    base = f"{model.id}-base"
    taken = {model.id, base, embedding_model.id}
    variants = [(VariantSource(base, None), replace(model, id=base, modalities=(), variant=base))]
    for name, path in settings.adapters:
        if name in taken:
            raise OperatorError(f"--adapter {name}={path}: another model has this name already")
        taken.add(name)
        fusion = AdapterFolder.open(Path(path)).fusion
        served = replace(model, id=name, fusion=fusion, variant=name, parent=base)
        variants.append((VariantSource(name, path), served))
    return variants
