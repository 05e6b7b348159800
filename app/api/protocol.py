"""HTTP/1.1 with bounds on what precedes a body and on how long an answer waits for its reader.

uvicorn's parser takes heads of any length, for ever, and answers what is not HTTP in plain text;
its answers wait for ever. Limits: RFC 9110 sections 4.1 (414) and 15.5.9 (408), RFC 6585 section 5
(431).
"""

import asyncio
import json
import socket
import uuid
from http import HTTPStatus

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.api.pace import TooSlow, Uptake
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

    _uptake: Uptake
    _head_due: asyncio.TimerHandle | None = None
    _waiting: asyncio.TimerHandle | None = None
    _backlog_nbytes = 0
    _waiting_since = 0.0
    _refusal: Refusal = MALFORMED
    _head_nbytes = 0
    _unparsed_nbytes = 0
    """Bytes in which the parser found no end of anything: it keeps them."""
    _heard = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there."""
        super().connection_made(transport)
        self._uptake = Uptake.of(self.settings, UNSENT_NBYTES)
        self._expect_head()
        connection = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT") and connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_NBYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        for timer in (self._head_due, self._waiting):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not keep up: wait for it, but not for ever."""
        super().pause_writing()
        self._wait()

    def resume_writing(self) -> None:
        """It took what was there."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
            self._judge()
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
        if self._head_due is None:  # the first one was due from the connection on
            self._expect_head()
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

    def on_headers_complete(self) -> None:
        """The end of a head."""
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None
        super().on_headers_complete()

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
        if self._answered():
            self.transport.close()
            return
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

    def _answered(self) -> bool:
        """Whether an answer has begun that another one would run into, or would seem to follow."""
        return (
            self.cycle is not None
            and self.cycle.response_started
            and (self.cycle.more_body or not self.cycle.response_complete)
        )

    def _expect_head(self) -> None:
        self._head_due = self.loop.call_later(self.settings.timers.head_s, self._end_without_head)

    def _end_without_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_head()  # its answer to an earlier request is on the way
            return
        if self.scope is None:
            self.transport.close()  # it said nothing
            return
        message = f"no whole head within {self.settings.timers.head_s:g} seconds (timers.head_s)"
        self._refusal = HTTPStatus.REQUEST_TIMEOUT, "LimitExceeded", message
        self.send_400_response("")

    def _wait(self) -> None:
        self._backlog_nbytes = self.transport.get_write_buffer_size()
        self._waiting_since = self.loop.time()
        self._waiting = self.loop.call_later(self._uptake.idle_s, self._wait_on)

    def _wait_on(self) -> None:
        if self._judge():
            self._wait()

    def _judge(self) -> bool:
        """End the connection, and say False, if its client does not keep the pace."""
        taken_nbytes = self._backlog_nbytes - self.transport.get_write_buffer_size()
        try:
            self._uptake.judge(self.loop.time() - self._waiting_since, taken_nbytes)
        except TooSlow as error:
            log.warning("answer given up", why=str(error), client=self.client and self.client[0])
            self.transport.abort()
            return False
        return True

    def _head_refusal(self) -> Refusal:
        most = self.settings.limits.http_head_nbytes
        message = f"the headers exceed {most} bytes (limit: limits.http_head_nbytes)"
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "LimitExceeded", message


def bounded_http(settings: Settings) -> type[BoundedHttp]:
    """The protocol class of a server with these settings."""
    return type("BoundedHttp", (BoundedHttp,), {"settings": settings})
