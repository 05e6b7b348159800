"""Start a hub: open it, make its first user in embedded mode, serve HTTP until told to stop."""

import secrets
import socket
from pathlib import Path

import uvicorn

from app.accounts.users import create_user, has_users
from app.hub import Hub, open_hub
from app.log import configure_logging
from app.main import create_app
from app.settings import Settings

FIRST_USER = "clade"
TOKEN_FILE = "token"  # noqa: S105  a file name, not a secret


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Run the HTTP front (and embedded jobs) until SIGTERM or SIGINT; requests in flight finish."""
    configure_logging(settings)
    hub = open_hub(settings)
    if settings.jobs.broker_url is not None:
        # The composition root of a production server: the only place where app knows of workers.
        from workers.notify import celery_notifier

        hub.notify_jobs = celery_notifier(settings)
    try:
        config = uvicorn.Config(
            create_app(hub),
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            h11_max_incomplete_event_size=16 << 10,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=30,
            server_header=False,
        )
        _AnnouncingServer(config, _welcome(host, port, first_token(hub))).run()
    finally:
        hub.close()


class _AnnouncingServer(uvicorn.Server):
    """Prints how to reach the hub once it really listens."""

    def __init__(self, config: uvicorn.Config, welcome: str) -> None:
        super().__init__(config)
        self._welcome = welcome

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Bind, then say so."""
        await super().startup(sockets)
        if self.started:
            print(self._welcome, flush=True)  # noqa: T201  the one thing a user needs to see


def first_token(hub: Hub) -> str | None:
    """Token of the first user, made on the first start of an embedded hub and kept beside its data.

    None on a hub with its own database server, where the operator creates users.
    """
    path: Path = hub.settings.data / TOKEN_FILE
    if path.exists():
        return path.read_text().strip()
    if hub.settings.database_url is not None or has_users(hub):
        return None
    token = "hf_" + secrets.token_urlsafe(24)
    path.touch(mode=0o600)
    path.write_text(token + "\n")
    create_user(hub, FIRST_USER, token=token, admin=True)
    return token


def _welcome(host: str, port: int, token: str | None) -> str:
    url = f"http://{'localhost' if host in {'127.0.0.1', '0.0.0.0'} else host}:{port}"  # noqa: S104
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
