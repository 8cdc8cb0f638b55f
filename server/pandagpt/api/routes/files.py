"""/v1/files: media that are uploaded once and then named by their `file_id`."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from pandagpt.api.file_store import StoredFile, Upload
from pandagpt.api.multipart import FILE_FIELD, FormReader
from pandagpt.api.openapi import describe
from pandagpt.api.schemas.answers import DeletedFile, File, FileList
from pandagpt.api.schemas.files import PURPOSES, FileListQuery, UploadFields, file_object
from pandagpt.api.schemas.request import validated
from pandagpt.api.state import caller_of, state_of
from pandagpt.errors import InvalidValue, MissingParameter, UnknownFile

# Written at once, off the event loop; also what an upload takes in memory.
PIECE_BYTES = 1024 * 1024

router = APIRouter(prefix="/v1/files", tags=["files"])

FORM: dict[str, Any] = {
    "type": "object",
    "required": [FILE_FIELD],
    "properties": {
        FILE_FIELD: {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "enum": [*PURPOSES], "default": PURPOSES[0]},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 1},
    },
}
BODY = {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}


@router.post("", **describe(File, body=BODY, errors=(400, 408, 413, 415, 429, 500, 503)))
async def upload_file(request: Request) -> dict[str, Any]:
    form = _form(request)
    upload = await run_in_threadpool(state_of(request).files.begin, caller_of(request))
    try:
        async for piece in _file_pieces(request, form):
            await run_in_threadpool(upload.write, piece)
        return file_object(await _finish(request, form, upload))
    finally:
        await run_in_threadpool(upload.close)


def _form(request: Request) -> FormReader:
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise HTTPException(415, "Send the file as a form: 'Content-Type: multipart/form-data'.")
    return FormReader(content_type)


async def _file_pieces(request: Request, form: FormReader) -> AsyncGenerator[bytes]:
    piece = bytearray()
    async for chunk in request.stream():
        piece += form.feed(chunk)
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    form.flush()
    yield bytes(piece)


async def _finish(request: Request, form: FormReader, upload: Upload) -> StoredFile:
    if form.filename is None:
        raise MissingParameter(f"Missing required parameter: '{FILE_FIELD}'.", FILE_FIELD)
    fields = validated(UploadFields, _nested(form.fields))
    ttl = state_of(request).settings.file_ttl_s
    wanted = fields.expires_after.seconds if fields.expires_after else ttl
    if wanted > ttl:
        message = f"Invalid 'expires_after.seconds': this server keeps files for at most {ttl} s."
        raise InvalidValue(message, "expires_after.seconds")
    return await run_in_threadpool(upload.finish, form.filename, fields.purpose, wanted)


def _nested(fields: dict[str, str]) -> dict[str, Any]:
    """`expires_after[seconds]`, as forms write it, to an object's key."""
    plain: dict[str, Any] = {name: value for name, value in fields.items() if "[" not in name}
    for name, value in fields.items():
        outer, bracket, inner = name.partition("[")
        if bracket and inner.endswith("]") and isinstance(plain.setdefault(outer, {}), dict):
            plain[outer][inner[:-1]] = value
    return plain


@router.get("", **describe(FileList, query=FileListQuery, errors=(400, 404, 500)))
async def list_files(request: Request) -> dict[str, Any]:
    query = validated(FileListQuery, dict(request.query_params))
    files = await run_in_threadpool(state_of(request).files.of, caller_of(request))
    if query.order == "desc":
        files.reverse()
    files = _after(files, query.after)
    files = [file for file in files if query.purpose in (None, file.purpose)]
    page = files[: query.limit]
    return {
        "object": "list",
        "data": [file_object(file) for file in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(files) > len(page),
    }


def _after(files: list[StoredFile], file_id: str) -> list[StoredFile]:
    if not file_id:
        return files
    ids = [file.id for file in files]
    if file_id not in ids:
        raise UnknownFile(f"No such file: '{file_id[:64]}'. It may have expired.", "after")
    return files[ids.index(file_id) + 1 :]


@router.get("/{file_id}", **describe(File, errors=(404, 500)))
async def retrieve_file(request: Request, file_id: str) -> dict[str, Any]:
    files = state_of(request).files
    return file_object(await run_in_threadpool(files.get, file_id, caller_of(request)))


@router.get("/{file_id}/content", **describe(None, errors=(404, 500)))
async def file_content(request: Request, file_id: str) -> Response:
    files, caller = state_of(request).files, caller_of(request)
    file = await run_in_threadpool(files.get, file_id, caller)
    content = await run_in_threadpool(files.open, file_id, caller)
    # A browser must neither guess a type nor show it as a page of this server.
    headers = {
        "content-length": str(file.num_bytes),
        "content-disposition": f"attachment; filename*=UTF-8''{quote(file.name, safe='')}",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(_pieces(content), 200, headers, "application/octet-stream")


def _pieces(content: BinaryIO) -> Iterator[bytes]:
    with content:
        while piece := content.read(PIECE_BYTES):
            yield piece


@router.delete("/{file_id}", **describe(DeletedFile, errors=(404, 500)))
async def delete_file(request: Request, file_id: str) -> dict[str, Any]:
    files = state_of(request).files
    await run_in_threadpool(files.delete, file_id, caller_of(request))
    return {"id": file_id, "object": "file", "deleted": True}
