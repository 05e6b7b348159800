"""``/docs``: the OpenAPI document as a page, which needs nothing from anywhere else.

Swagger UI's own files come from the package ``fastapi-offline``.
"""

import secrets
from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, Response

from app.web.rendering import render

router = APIRouter(include_in_schema=False)

MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
AssetName = Literal["swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"]


@router.get("/docs")
@router.head("/docs")
def docs(request: Request) -> HTMLResponse:
    """The interface, to read and to try."""
    nonce = secrets.token_urlsafe(16)
    policy = (
        "default-src 'none'; connect-src 'self'; img-src 'self' data:;"
        f" style-src 'self' 'unsafe-inline'; script-src 'self' 'nonce-{nonce}'"
    )
    page = render(request, "docs.html", nonce=nonce)
    page.headers["Content-Security-Policy"] = policy
    return page


@router.get("/docs/assets/{name}")
def asset(name: AssetName) -> Response:
    """A file of Swagger UI."""
    data = files("fastapi_offline").joinpath("static", name).read_bytes()
    headers = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
    return Response(data, media_type=MEDIA_TYPES[name], headers=headers)
