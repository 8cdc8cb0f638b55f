"""Every error this package raises on purpose.

    PandaError
    ├── RequestError                 the caller can mend it; `param` names the field
    │   ├── InvalidJson              the body is no JSON object
    │   ├── InvalidValue             wrong type or outside its range
    │   ├── MissingParameter
    │   ├── UnsupportedValue         known, but not honoured here
    │   ├── ContextLengthExceeded
    │   ├── UnsupportedContentType   unknown content part, or one where it is not allowed
    │   ├── InvalidMedia             undecodable, empty, truncated, wrong kind
    │   ├── MediaTooLarge
    │   ├── MediaNotAllowed          a source (URL scheme, host, path) that is refused
    │   ├── MediaFetchFailed         an allowed URL that could not be read
    │   ├── UnknownFile              no such upload, or not this caller's
    │   ├── FileQuotaExceeded        the caller's uploads fill its share
    │   ├── InvalidSchema            a JSON schema that no answer can be held to
    │   ├── UnknownResponse          not stored, or not this caller's
    │   ├── RateLimited              more of one caller than its share
    │   └── ModelNotFound
    ├── Overloaded                   the queue is full, or the server is loading
    │   └── ShuttingDown             nothing new is taken; other servers may
    ├── DeadlineExceeded             one request took longer than any may
    ├── StorageFull                  no room for an upload: our disk, or all callers' files
    ├── EngineFailure                our fault, while one request was served
    │   └── EngineLost               the engine's process ended; another one may do better
    ├── CheckpointError              weights that are missing, truncated or not what they should be
    └── OperatorError                wrong usage or surroundings of a command

Messages say what was wrong, the value, the limit and the remedy, and never hold a path
of the server, an address or the text of a library's exception. `CheckpointError` and
`OperatorError` alone are for the operator and name files.
"""

from pathlib import Path
from typing import Self


class PandaError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class RequestError(PandaError):
    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param

    def at(self, param: str) -> "RequestError":
        """The same error, placed at a field of the request."""
        return type(self)(self.message, param)


class InvalidJson(RequestError):
    pass


class InvalidValue(RequestError):
    pass


class MissingParameter(RequestError):
    pass


class UnsupportedValue(RequestError):
    pass


class ContextLengthExceeded(RequestError):
    @classmethod
    def of_messages(cls, num_tokens: int | str, max_model_len: int) -> Self:
        # Clients match these words: LiteLLM the sentence, LangChain the code in brackets.
        return cls(
            f"This model's maximum context length is {max_model_len} tokens. However, your "
            f"messages resulted in {num_tokens} tokens. Please reduce the length of the messages. "
            "(context_length_exceeded)",
            "messages",
        )


class UnsupportedContentType(RequestError):
    pass


class InvalidMedia(RequestError):
    pass


class MediaTooLarge(RequestError):
    pass


class MediaNotAllowed(RequestError):
    pass


class MediaFetchFailed(RequestError):
    pass


class UnknownFile(RequestError):
    pass


class FileQuotaExceeded(RequestError):
    pass


class InvalidSchema(RequestError):
    pass


class UnknownResponse(RequestError):
    pass


class ModelNotFound(RequestError):
    pass


class RateLimited(RequestError):
    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(PandaError):
    def __init__(self, message: str, retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ShuttingDown(Overloaded):
    def __init__(self, message: str = "The server is shutting down. Try again soon.") -> None:
        super().__init__(message, retry_after_seconds=5)


class DeadlineExceeded(PandaError):
    pass


class StorageFull(PandaError):
    pass


class EngineFailure(PandaError):
    pass


class EngineLost(EngineFailure):
    pass


class CheckpointError(PandaError):
    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class OperatorError(PandaError):
    """The message is one line that says what to do."""
