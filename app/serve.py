"""Start a hub: open it, make its first user in embedded mode, serve HTTP until told to stop."""

import socket
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from app.accounts.tokens import new_token
from app.accounts.users import create_user, has_users
from app.allocator import keep_freed_memory
from app.api.protocol import bounded_http
from app.errors import Conflict
from app.hub import Hub, open_hub
from app.log import configure_logging
from app.main import create_app
from app.settings import Settings

FIRST_USER = "clade"
TOKEN_FILE = "token"  # noqa: S105  a file name, not a secret


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Run the HTTP front (and embedded jobs) until SIGTERM or SIGINT; requests in flight finish.

    Raises Conflict if the address is not to be had, before anything else is touched.
    """
    keep_freed_memory()
    configure_logging(settings)
    with bind(host, port) as listener:
        hub = open_hub(settings)
        try:
            if settings.jobs.broker_url is not None:
                # The composition root of a production server: the only place where app knows of
                # workers.
                from workers.notify import celery_notifier

                hub.notify_jobs = celery_notifier(settings)
            welcome = _welcome(host, listener.getsockname()[1], first_token(hub))
            _AnnouncingServer(http_config(create_app(hub), settings), welcome).run([listener])
        finally:
            hub.close()


def bind(host: str, port: int) -> socket.socket:
    """A socket on this address, not yet listening. Raises Conflict if it is not to be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise Conflict(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener


def http_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the hub speaks HTTP, whoever starts it."""
    return uvicorn.Config(
        app,
        http=bounded_http(settings.limits),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # app.api.forwarded reads them, by our own settings
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
        server_header=False,
    )


class _AnnouncingServer(uvicorn.Server):
    """Prints how to reach the hub once it really listens."""

    def __init__(self, config: uvicorn.Config, welcome: str) -> None:
        super().__init__(config)
        self._welcome = welcome

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            print(self._welcome, flush=True)  # noqa: T201  the one thing a user needs to see


def first_token(hub: Hub) -> str | None:
    """Token of the first user, made on the first start of an embedded hub and kept beside its data.

    None on a hub with its own database server, where the operator creates users.
    """
    path: Path = hub.settings.data / TOKEN_FILE
    token = path.read_text().strip() if path.exists() else ""
    if hub.settings.database_url is None and not has_users(hub):
        # The file first: a user whose token nobody was told is worth less than the other way round.
        if not token:
            token = new_token()
            path.touch(mode=0o600)
            path.write_text(token + "\n")
        create_user(hub, FIRST_USER, token=token, admin=True)
    return token or None


def _welcome(host: str, port: int, token: str | None) -> str:
    shown = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::", "::1", ""} else host  # noqa: S104
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    lines = [f"clade is listening on {url}"]
    if token is not None:
        lines += [
            "",
            "Try it:",
            f"  export HF_ENDPOINT={url} HF_TOKEN={token}",
            f"  hf upload {FIRST_USER}/my-model ./my-model-folder",
            f"  hf download {FIRST_USER}/my-model",
        ]
    return "\n".join(lines)
