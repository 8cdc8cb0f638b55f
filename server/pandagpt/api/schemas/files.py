"""The form of POST /v1/files, the query of GET /v1/files, and the file that clients see."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field

from pandagpt.api.file_store import StoredFile
from pandagpt.api.schemas.request import RequestModel

Purpose = Literal["user_data", "vision", "assistants"]
PURPOSES: tuple[str, ...] = get_args(Purpose)


class ExpiresAfter(RequestModel):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=1, strict=False)]


class UploadFields(RequestModel):
    purpose: Purpose = "user_data"
    expires_after: ExpiresAfter | None = None


class FileListQuery(RequestModel):
    limit: Annotated[int, Field(ge=1, le=10_000, strict=False)] = 10_000
    after: str = ""
    order: Literal["asc", "desc"] = "desc"
    purpose: str | None = None


def file_object(file: StoredFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.num_bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }
