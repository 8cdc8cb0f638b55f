"""What routes find in the app: settings, the model's holder, the intake, files, kept answers."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from pandagpt.api.file_store import FileStore
from pandagpt.api.intake import Intake
from pandagpt.api.middleware import RequestLog
from pandagpt.api.places import Places
from pandagpt.api.responses.store import ResponseStore
from pandagpt.api.serving import EmbeddingModel, ModelHolder, ServedModel, Serving
from pandagpt.errors import ModelNotFound
from pandagpt.metrics import HttpMetrics
from pandagpt.settings import Settings


@dataclass(frozen=True, slots=True)
class AppState:
    settings: Settings
    holder: ModelHolder
    intake: Intake
    files: FileStore
    responses: ResponseStore
    places: Places
    metrics: HttpMetrics


def state_of(request: Request) -> AppState:
    return cast(AppState, request.app.state.panda)


def log_of(request: Request) -> RequestLog:
    return cast(RequestLog, request.scope["state"]["log"])


def caller_of(request: Request) -> str:
    """Empty where no keys are set: all are one caller then."""
    return cast(str, request.scope["state"].get("caller", ""))


def find_model(serving: Serving, name: str) -> ServedModel:
    """An empty name means the first chat model."""
    if serving.embedding_model and name == serving.embedding_model.id:
        message = f"The model '{name}' only embeds; ask it at /v1/embeddings."
        raise ModelNotFound(message, "model")
    for model in serving.chat_models:
        if name in ("", model.id):
            return model
    raise _unknown(serving, name)


def find_embedding_model(serving: Serving, name: str) -> EmbeddingModel:
    """By its own name or by that of a chat model that it is a part of."""
    model = serving.embedding_model
    if model is None or name != model.id:
        chat = find_model(serving, name)
        if model is None or not chat.modalities:
            message = f"The model '{chat.id}' reads text only and has no embeddings."
            raise ModelNotFound(message, "model")
    return model


def _unknown(serving: Serving, name: str) -> ModelNotFound:
    names = ", ".join(f"'{model.id}'" for model in serving.chat_models)
    message = f"The model '{name[:64]}' does not exist. This server has {names}."
    return ModelNotFound(message, "model")
