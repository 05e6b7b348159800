"""Pages from templates, and the headers that keep them from doing anything by themselves."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.responses import HTMLResponse

from app.api.deps import base_url

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


def steps_to(path: str) -> list[tuple[str, str]]:
    """The directories on the way to a path and itself: name and path of each."""
    parts = path.split("/") if path else []
    return [(part, "/".join(parts[: at + 1])) for at, part in enumerate(parts)]


_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(default=True),
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["quoted"] = partial(quote, safe="")
_templates.filters["steps"] = steps_to


def render(request: Request, template: str, **values: Any) -> HTMLResponse:
    """A page of this hub from a template."""
    places = {"endpoint": base_url(request), "root": request.scope.get("root_path", "")}
    return HTMLResponse(_templates.get_template(template).render(places | values), headers=HEADERS)


def with_query(request: Request, **changed: object) -> str:
    """The query of a request with other values, for a link to a page beside it."""
    kept: Mapping[str, object] = {**request.query_params, **changed}
    return str(request.url.replace(query="").include_query_params(**kept).query)
