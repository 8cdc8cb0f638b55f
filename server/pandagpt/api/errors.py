"""The one table from error class to HTTP, and the one shape of an error body.

Errors of the package and of the router go in; OpenAI's error object with all its four
keys comes out.
"""

import json
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse

from pandagpt.errors import (
    ContextLengthExceeded,
    DeadlineExceeded,
    EngineFailure,
    EngineLost,
    FileQuotaExceeded,
    InvalidJson,
    InvalidMedia,
    InvalidSchema,
    InvalidValue,
    MediaFetchFailed,
    MediaNotAllowed,
    MediaTooLarge,
    MissingParameter,
    ModelNotFound,
    Overloaded,
    PandaError,
    RateLimited,
    RequestError,
    ShuttingDown,
    StorageFull,
    UnknownFile,
    UnknownResponse,
    UnsupportedContentType,
    UnsupportedValue,
)

MAX_MESSAGE_CHARS = 2000

INVALID_REQUEST = "invalid_request_error"


@dataclass(frozen=True, slots=True)
class Problem:
    status: int
    type: str
    code: str | None


PROBLEMS: dict[type, Problem] = {
    RequestError: Problem(400, INVALID_REQUEST, None),
    InvalidJson: Problem(400, INVALID_REQUEST, "invalid_json"),
    InvalidValue: Problem(400, INVALID_REQUEST, "invalid_value"),
    MissingParameter: Problem(400, INVALID_REQUEST, "missing_required_parameter"),
    UnsupportedValue: Problem(400, INVALID_REQUEST, "unsupported_value"),
    ContextLengthExceeded: Problem(400, INVALID_REQUEST, "context_length_exceeded"),
    UnsupportedContentType: Problem(400, INVALID_REQUEST, "unsupported_content_type"),
    InvalidMedia: Problem(400, INVALID_REQUEST, "invalid_media"),
    MediaTooLarge: Problem(400, INVALID_REQUEST, "media_too_large"),
    MediaFetchFailed: Problem(400, INVALID_REQUEST, "media_fetch_failed"),
    MediaNotAllowed: Problem(400, INVALID_REQUEST, "media_url_not_allowed"),
    UnknownFile: Problem(404, INVALID_REQUEST, "file_not_found"),
    # Not 429, which clients send again.
    FileQuotaExceeded: Problem(413, INVALID_REQUEST, "file_quota_exceeded"),
    InvalidSchema: Problem(400, INVALID_REQUEST, "invalid_schema"),
    UnknownResponse: Problem(404, INVALID_REQUEST, "response_not_found"),
    ModelNotFound: Problem(404, INVALID_REQUEST, "model_not_found"),
    RateLimited: Problem(429, "rate_limit_error", "rate_limit_exceeded"),
    Overloaded: Problem(503, "server_error", "server_overloaded"),
    ShuttingDown: Problem(503, "server_error", "server_overloaded"),
    DeadlineExceeded: Problem(504, "server_error", "request_timeout"),
    StorageFull: Problem(507, "server_error", "storage_full"),
    EngineFailure: Problem(500, "server_error", "internal_error"),
    EngineLost: Problem(500, "server_error", "internal_error"),
    PandaError: Problem(500, "server_error", "internal_error"),
}

HTTP_PROBLEMS: dict[int, Problem] = {
    401: Problem(401, INVALID_REQUEST, "invalid_api_key"),
    404: Problem(404, INVALID_REQUEST, None),
    405: Problem(405, INVALID_REQUEST, "method_not_allowed"),
    408: Problem(408, INVALID_REQUEST, "request_timeout"),
    413: Problem(413, INVALID_REQUEST, "request_too_large"),
    415: Problem(415, INVALID_REQUEST, "unsupported_media_type"),
    431: Problem(431, INVALID_REQUEST, "request_head_too_large"),
}


def media_codes() -> list[str]:
    """What can be wrong with a medium, or with where it is."""
    classes = (InvalidMedia, MediaTooLarge, MediaNotAllowed, MediaFetchFailed)
    return [str(PROBLEMS[cls].code) for cls in classes]


def problem_of(error: PandaError) -> Problem:
    return next(PROBLEMS[cls] for cls in type(error).__mro__ if cls in PROBLEMS)


def internal_message(request_id: str) -> str:
    return f"The server failed while it handled this request. Request id: {request_id}"


def error_content(message: str, problem: Problem, param: str | None = None) -> dict[str, Any]:
    """The body of an error, in OpenAI's shape: all four keys, always."""
    error = {
        "message": message[:MAX_MESSAGE_CHARS],
        "type": problem.type,
        "param": param,
        "code": problem.code,
    }
    return {"error": error}


def content_of(error: PandaError, request_id: str) -> dict[str, Any]:
    problem = problem_of(error)
    message = internal_message(request_id) if problem.status == 500 else error.message
    return error_content(message, problem, getattr(error, "param", None))


def response_of(error: PandaError, request_id: str) -> JSONResponse:
    headers = {}
    if isinstance(error, Overloaded | RateLimited):
        headers["retry-after"] = str(error.retry_after_seconds)
    if isinstance(error, ShuttingDown):
        headers["connection"] = "close"
    if isinstance(error, DeadlineExceeded):
        # OpenAI's clients would ask for the same ten minutes twice more.
        headers["x-should-retry"] = "false"
    return JSONResponse(content_of(error, request_id), problem_of(error).status, headers)


def http_response(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """For what HTTP itself refuses: unknown path, wrong method, body too large, no key."""
    return JSONResponse(http_error_content(status, message), status, headers)


def http_error_content(status: int, message: str) -> dict[str, Any]:
    problem = HTTP_PROBLEMS.get(status, Problem(status, INVALID_REQUEST, None))
    return error_content(message, problem)


def sse_data(error: PandaError, request_id: str) -> str:
    return json.dumps(content_of(error, request_id), ensure_ascii=False)
