"""/docs: a page that reads /openapi.json, shows it and sends its examples. Loads nothing else."""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

router = APIRouter(include_in_schema=False)

PAGE = Path(__file__).parent.with_name("docs.html")
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src data:; frame-ancestors 'none'; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline'"
}


@router.get("/docs")
async def docs() -> FileResponse:
    return FileResponse(PAGE, media_type="text/html", headers=HEADERS)
