"""HTTP/1.1 with bounds on what precedes a body and on how long an answer waits for its reader.

uvicorn's parser takes heads of any length and answers what is not HTTP in plain text; its answers
wait for ever. Limits: RFC 9110 section 4.1 (414) and RFC 6585 section 5 (431).
"""

import asyncio
import json
import socket
import uuid
from http import HTTPStatus

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.settings import Settings

UNSENT_NBYTES = 512 << 10
"""What the kernel takes of an answer before the network does (TCP_NOTSENT_LOWAT, see tcp(7)).

By default that is megabytes, and a client that reads nothing seems to have taken them.
"""

log = structlog.get_logger(__name__)

Refusal = tuple[HTTPStatus, str, str]
"""Status, X-Error-Code and message."""

MALFORMED: Refusal = (
    HTTPStatus.BAD_REQUEST,
    "InvalidRequest",
    "this is not an HTTP/1.1 request; check method, headers and Content-Length",
)


class HeadTooLong(Exception):
    """Stops the parser in the middle of a head."""


class BoundedHttp(HttpToolsProtocol):
    """One connection. :func:`bounded_http` gives it its settings."""

    settings: Settings

    _waiting: asyncio.TimerHandle | None = None
    _backlog_nbytes = 0
    _refusal: Refusal = MALFORMED
    _head_nbytes = 0
    _unparsed_nbytes = 0
    """Bytes in which the parser found no end of anything: it keeps them."""
    _heard = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_NBYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not keep up: wait for it, but not for ever."""
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        """It took what was there."""
        self._stop_waiting()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived. What goes on for ever (a header, a trailer) is refused."""
        self._heard = False
        super().data_received(data)
        self._unparsed_nbytes = 0 if self._heard else self._unparsed_nbytes + len(data)
        if (
            self._unparsed_nbytes > self.settings.limits.http_head_nbytes
            and not self.transport.is_closing()
        ):
            self._refusal = self._head_refusal()
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._head_nbytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A piece of the request target."""
        self._heard = True
        super().on_url(url)
        most = self.settings.limits.url_nbytes
        if len(self.url) > most:
            self._refusal = (
                HTTPStatus.REQUEST_URI_TOO_LONG,
                "LimitExceeded",
                f"the URL exceeds {most} bytes (limit: limits.url_nbytes)",
            )
            raise HeadTooLong

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field or, after a chunked body, a trailer field."""
        self._heard = True
        self._head_nbytes += len(name) + len(value)
        if self._head_nbytes > self.settings.limits.http_head_nbytes:
            self._refusal = self._head_refusal()
            raise HeadTooLong
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._heard = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._heard = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse the request and close the connection; ``msg`` is uvicorn's, ours says more."""
        del msg
        status, code, message = self._refusal
        body = json.dumps({"error": message}).encode()
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        lines += [name + b": " + value for name, value in self.server_state.default_headers]
        lines += [
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            f"x-error-code: {code}".encode(),
            f"x-error-message: {message}".encode(),
            f"x-request-id: {uuid.uuid4().hex}".encode(),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self.transport.close()

    def _wait(self) -> None:
        self._backlog_nbytes = self.transport.get_write_buffer_size()
        idle_s = self.settings.timers.download_idle_s
        self._waiting = self.loop.call_later(idle_s, self._end_if_stalled)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _end_if_stalled(self) -> None:
        if self.transport.get_write_buffer_size() < self._backlog_nbytes:
            self._wait()
            return
        log.warning(
            "answer given up: its client takes nothing",
            setting="timers.download_idle_s",
            idle_s=self.settings.timers.download_idle_s,
            client=self.client and self.client[0],
        )
        self.transport.abort()

    def _head_refusal(self) -> Refusal:
        most = self.settings.limits.http_head_nbytes
        message = f"the headers exceed {most} bytes (limit: limits.http_head_nbytes)"
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "LimitExceeded", message


def bounded_http(settings: Settings) -> type[BoundedHttp]:
    """The protocol class of a server with these settings."""
    return type("BoundedHttp", (BoundedHttp,), {"settings": settings})
