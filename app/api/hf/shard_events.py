"""The answer to a shard: ndjson lines while its files are put together, the outcome last.

Source: hub-docs ``docs/xet/api.md`` §8. The status is 200 before the work begins, so the last line
tells success from failure, and a line is repeated while the work is slow, or proxies and clients
would take the silence for a dead connection.
"""

import json
import threading
from collections.abc import Callable
from typing import Any

import anyio
import anyio.to_thread
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.body import UploadBroken, upload_limiter
from app.errors import HubError
from app.xet.register import Progress

log = structlog.get_logger(__name__)

REPORT_EVERY_S = 1.0
HEARTBEAT_REPORTS = 15
"""Reports without news after which the last line is sent again."""

Event = dict[str, Any]


class ShardEvents(Response):
    """Runs ``work`` on a thread and reports on it until it ends or the client goes away."""

    media_type = "application/x-ndjson"

    def __init__(self, work: Callable[[Progress], None], *, request: Request) -> None:
        super().__init__()
        del self.headers["content-length"]
        self.headers["x-accel-buffering"] = "no"  # nginx would keep the reports until the end
        self._work = work
        self._request_id = request.scope.get("state", {}).get("request_id", "")
        self._done = (0, 0)
        self._gone = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, run the work beside the reports, send the outcome."""
        del scope
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        outcome: Event = {}
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch, receive)
            group.start_soon(self._report, send)
            outcome = await anyio.to_thread.run_sync(self._run, limiter=upload_limiter())
            group.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": _line(outcome), "more_body": False})

    def _run(self) -> Event:
        """On the worker thread: do it, and say how it went."""
        try:
            self._work(self._advance)
        except HubError as error:
            return {"type": "error", "message": error.message, "retryable": error.transient}
        except Exception:
            log.exception("http.unforeseen_error")
            message = f"internal error, request id {self._request_id}"
            return {"type": "error", "message": message, "retryable": False}
        return {"type": "result", "result": 1}

    def _advance(self, done: int, total: int) -> None:
        if self._gone.is_set():
            raise UploadBroken("the client went away")
        self._done = (done, total)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone.set()

    async def _report(self, send: Send) -> None:
        told, silent = None, 0
        while True:
            silent += 1
            if self._done != told or silent >= HEARTBEAT_REPORTS:
                told, silent = self._done, 0
                event = {"type": "validating", "verified": told[0], "total": told[1]}
                body = {"type": "http.response.body", "body": _line(event), "more_body": True}
                await send(body)
            await anyio.sleep(REPORT_EVERY_S)


def _line(event: Event) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"
