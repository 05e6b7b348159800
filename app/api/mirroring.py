"""Requests that read a repo see to it that a mirror has it; answers tell how fresh it is.

The upstream is waited for on threads of its own, so that a slow one holds up nobody else.
"""

from collections.abc import Callable
from typing import TypeVar

import anyio.to_thread
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.accounts.tokens import Principal
from app.api.dates import wire_date
from app.api.errors import header_text
from app.catalog.naming import RepoType
from app.mirror.door import VIA
from app.mirror.freshness import Freshness, Mirror
from app.mirror.upstream import RepoAddress

T = TypeVar("T")

MAX_ASKING = 16
"""Requests that wait for the upstream at a time; others wait for their turn."""

READING_POSTS = ("/git-upload-pack", "/info/lfs/objects/batch")
"""Ends of paths that are posted to and change nothing, beside ``paths-info``."""

_limiter: RunVar[CapacityLimiter] = RunVar("mirror_limiter")


def get_mirror(request: Request) -> Mirror | None:
    """The mirror of this hub; None without an upstream."""
    return request.app.state.mirror


async def keep_mirrored(
    request: Request,
    look_up: Callable[[], Principal | None],
    repo_type: RepoType,
    namespace: str,
    name: str,
) -> None:
    """Have a repo that is asked for, with the revision in the URL, if the upstream has it.

    ``look_up``: who is asking, if it comes to asking the upstream. Raises as that and as
    :meth:`Mirror.keep` do.
    """
    mirror = get_mirror(request)
    if mirror is None or not _reads(request):
        return
    address = RepoAddress(repo_type, namespace, name)
    revision = request.path_params.get("revision")
    repo, state = await run_in_threadpool(mirror.look, address, revision)
    if state is None and repo is not None:
        return
    if state is None or state.stale:
        via = request.headers.get(VIA, "")
        state = await waiting_apart(lambda: mirror.keep(address, revision, look_up(), via=via))
    if state is not None:
        request.scope["state"]["mirror"] = state


async def waiting_apart(work: Callable[[], T]) -> T:
    """Run what waits for the upstream on one of the threads that are for that."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(MAX_ASKING)
        _limiter.set(limiter)
    return await anyio.to_thread.run_sync(work, limiter=limiter)


class TellMirror:
    """Says in answers about a mirrored repo what it mirrors, and warns if that may be old."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add ``X-Clade-Mirror`` and, for the clients to print it, ``X-HF-Warning``."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_state(message: Message) -> None:
            state: Freshness | None = scope.get("state", {}).get("mirror")
            if message["type"] == "http.response.start" and state is not None:
                headers = MutableHeaders(scope=message)
                # Whoever may not see a repo is not told what it mirrors either.
                if headers.get("x-error-code") != "RepoNotFound":
                    _tell(headers, state)
            await send(message)

        await self.app(scope, receive, send_with_state)


def _tell(headers: MutableHeaders, state: Freshness) -> None:
    since = f"; checked={wire_date(state.checked_at)}" if state.checked_at else ""
    headers["X-Clade-Mirror"] = f"{state.url}{since}{'; stale' if state.stale else ''}"
    if state.stale:
        text = f"mirror; {state.url} was not asked, this copy may be old: {state.stale}"
        headers["X-HF-Warning"] = header_text(text)


def reads_repo(method: str, path: str) -> bool:
    """Whether such a request changes nothing of the repo that its path names."""
    posts = "/paths-info/" in path or path.endswith(READING_POSTS)
    return method in {"GET", "HEAD"} or (method == "POST" and posts)


def _reads(request: Request) -> bool:
    is_push = request.url.query.startswith("service=git-receive-pack")
    return not is_push and reads_repo(request.method, request.scope["path"])
