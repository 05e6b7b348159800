"""Errors as git shows them to its user: as a line of the protocol, or as plain text.

Of an answer with another status git tells the number alone, except for plain text when it asks for
refs. Source: gitprotocol-pack(5), "error-line"; git's ``show_http_message`` (remote-curl.c).
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.responses import PlainTextResponse

from app.api.errors import MAX_MESSAGE_LENGTH, error_response
from app.errors import HubError, RepoMoved
from app.git.pkt import pkt

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

FETCH = "/git-upload-pack"


class GitRoute(APIRoute):
    """Tells git of errors in its own way; other clients are answered as everywhere."""

    def get_route_handler(self) -> Handler:
        """The route's handler with errors translated."""
        handler = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handler(request)
            except HubError as error:
                is_git = request.headers.get("user-agent", "").startswith("git/")
                if not is_git or isinstance(error, RepoMoved):
                    raise
                return _told_to_git(request, error)

        return translated


def _told_to_git(request: Request, error: HubError) -> Response:
    answer = error_response(error, anonymous="authorization" not in request.headers)
    is_login = answer.status_code in {401, 403}  # git asks for other credentials by the status
    if request.url.path.endswith(FETCH) and answer.status_code < 500 and not is_login:
        line = pkt(b"ERR " + error.message[:MAX_MESSAGE_LENGTH].encode("utf-8", "replace"))
        return Response(line, media_type="application/x-git-upload-pack-result")
    kept = {
        name: value
        for name, value in answer.headers.items()
        if name not in {"content-length", "content-type"}
    }
    return PlainTextResponse(f"{error.message}\n", answer.status_code, kept)
