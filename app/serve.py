"""Start a hub: open it, make its first user in embedded mode, serve HTTP until told to stop."""

import socket
import threading
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from app.accounts.tokens import new_token
from app.accounts.users import create_user, has_users
from app.allocator import keep_freed_memory, spare_what_is_loaded
from app.api.protocol import bounded_http
from app.errors import Conflict
from app.hub import Hub, open_hub
from app.log import configure_logging
from app.main import create_app
from app.settings import Settings
from app.tuning.keeper import Keeper

FIRST_USER = "clade"
ANYWHERE = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  addresses that are listened on, not bound
TOKEN_FILE = "token"  # noqa: S105  a file name, not a secret


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Run the HTTP front (and embedded jobs) until SIGTERM or SIGINT; requests in flight finish.

    Raises Conflict if the address is not to be had, before anything else is touched.
    """
    keep_freed_memory()
    configure_logging(settings)
    with bind(host, port) as listener:
        hub = open_hub(settings)
        port = listener.getsockname()[1]
        keeper = _keeper(hub, host, port)
        try:
            if settings.jobs.broker_url is not None:
                # The composition root of a production server: the only place where app knows of
                # workers.
                from workers.notify import celery_notifier

                hub.notify_jobs = celery_notifier(settings)
            welcome = _welcome(host, port, first_token(hub))
            config = http_config(create_app(hub), settings)
            spare_what_is_loaded()
            _AnnouncingServer(config, welcome, keeper).run([listener])
        finally:
            if keeper is not None:
                keeper.stop()
            hub.close()


def _keeper(hub: Hub, host: str, port: int) -> Keeper | None:
    """Of the trainer beside an embedded hub."""
    settings = hub.settings
    if settings.tuning.trainer == "none" or settings.jobs.broker_url is not None:
        return None
    return Keeper(hub, _url("127.0.0.1" if host in ANYWHERE else host, port))


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
        http=bounded_http(settings),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # app.api.forwarded reads them, by our own settings
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
        server_header=False,
    )


class _AnnouncingServer(uvicorn.Server):
    """Prints how to reach the hub once it really listens, and ends a trainer before itself."""

    def __init__(self, config: uvicorn.Config, welcome: str, keeper: Keeper | None) -> None:
        super().__init__(config)
        self._welcome = welcome
        self._keeper = keeper
        self._is_ending = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            print(self._welcome, flush=True)  # noqa: T201  the one thing a user needs to see
            if self._keeper is not None:
                self._keeper.start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A trainer hands in what it has while the hub still answers; who insists does not wait."""
        if self._keeper is None or self._is_ending:
            super().handle_exit(sig, frame)
            return
        self._is_ending = True

        def end(keeper: Keeper) -> None:
            keeper.stop()
            uvicorn.Server.handle_exit(self, sig, frame)

        threading.Thread(target=end, args=[self._keeper], daemon=True).start()


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


def _url(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _welcome(host: str, port: int, token: str | None) -> str:
    url = _url("localhost" if host in ANYWHERE | {"127.0.0.1", "::1"} else host, port)
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
