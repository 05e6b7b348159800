"""Refuses callers that ask too often, before anything is done for them.

A caller is a token, or an address where there is none. 429 carries ``Retry-After`` and the
``RateLimit`` headers (draft-ietf-httpapi-ratelimit-headers-09) that huggingface_hub reads; the
latter are on every answer. Tokens that do not exist count against the address that sends them.
"""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.errors import error_response
from app.api.routing import hub_path
from app.callers import taking_turns_as
from app.errors import RateLimited
from app.rates.bucket import Buckets, Limit, Resource, Verdict
from app.settings import Rates

FREE = frozenset({"/healthz", "/readyz", "/metrics"})
_FILES = re.compile(r"/(lfs|cas)/|/api/clade/objects/|(/[^/]+){2,3}/(resolve|raw)/")
_SENDS = re.compile(r"/(lfs|cas)/.*|/api/.*/commit/.*|/v1/files|.*/git-receive-pack")
_GIT = re.compile(r".*/(info/refs|git-(upload|receive)-pack|info/lfs/.*)")


class RateLimits:
    """Middleware: see the module."""

    def __init__(self, app: ASGIApp, rates: Rates, buckets: Buckets) -> None:
        self.app = app
        self._rates = rates
        self._buckets = buckets
        self._in_flight: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge an HTTP request, pass on anything else."""
        path = hub_path(scope) if scope["type"] == "http" else ""
        if scope["type"] != "http" or path in FREE:
            await self.app(scope, receive, send)
            return
        address = scope["client"][0] if scope["client"] else "unknown"
        credentials = Headers(scope=scope).get("authorization", "")
        caller = _caller(credentials, address)
        resource = resource_of(path)
        limit = self._limit(resource, anonymous=not credentials)
        kinds = kinds_of(scope["method"], path)
        refusal, verdict = await self._judge(caller, address, resource, limit, kinds)
        headers = _headers(resource, limit, verdict)
        if refusal is not None:
            await error_response(refusal)(scope, receive, _with(send, headers))
            return

        async def send_noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
                if message["status"] == 401 and credentials:
                    await self._count_failure(address)
            await send(message)

        counted = [f"{setting}:{caller}" for setting in kinds]
        self._in_flight.update(counted)
        try:
            with taking_turns_as(caller):
                await self.app(scope, receive, send_noting)
        finally:
            self._in_flight.subtract(counted)
            for each in counted:
                if not self._in_flight[each]:
                    del self._in_flight[each]

    async def _judge(
        self,
        caller: str,
        address: str,
        resource: Resource,
        limit: Limit | None,
        kinds: Sequence[str],
    ) -> tuple[RateLimited | None, Verdict | None]:
        failures = self._limit("failures", anonymous=True)
        if failures is not None:
            failed = await self._buckets.take(f"failures:{address}", failures, 0)
            if not failed.allowed:
                return _refusal("too many wrong tokens from here", "failures", failed.retry_s), None
        for setting in kinds:
            if self._in_flight[f"{setting}:{caller}"] >= getattr(self._rates, setting):
                what = "requests" if setting == "in_flight" else setting
                return _refusal(f"too many {what} at once", setting, 1), None
        if limit is None:
            return None, None
        verdict = await self._buckets.take(f"{resource}:{caller}", limit)
        if verdict.allowed:
            return None, verdict
        setting = f"{resource}{'' if caller.startswith('token:') else '_anonymous'}"
        return _refusal("too many requests", setting, verdict.retry_s), verdict

    async def _count_failure(self, address: str) -> None:
        failures = self._limit("failures", anonymous=True)
        if failures is not None:
            await self._buckets.take(f"failures:{address}", failures)

    def _limit(self, resource: Resource, *, anonymous: bool) -> Limit | None:
        name = "failures" if resource == "failures" else resource + "_anonymous" * anonymous
        quota = getattr(self._rates, name)
        return Limit(quota, self._rates.window_s) if quota else None


def resource_of(path: str) -> Resource:
    """What a request is counted as."""
    if _FILES.match(path):
        return "resolvers"
    return "api" if path.startswith(("/api/", "/v1/")) or _GIT.fullmatch(path) else "pages"


def kinds_of(method: str, path: str) -> list[str]:
    """The settings that bound how many such requests a caller may have at the same time."""
    if method in {"PUT", "POST"} and _SENDS.fullmatch(path):
        return ["in_flight", "uploads"]
    if method == "GET" and _FILES.match(path):
        return ["in_flight", "downloads"]
    return ["in_flight"]


def _caller(credentials: str, address: str) -> str:
    if not credentials:
        return f"address:{address}"
    return "token:" + hashlib.sha256(credentials.encode("utf-8", "replace")).hexdigest()[:32]


def _refusal(what: str, setting: str, retry_s: float) -> RateLimited:
    wait_s = max(1, math.ceil(retry_s))
    return RateLimited(f"{what}; wait {wait_s} s", setting=f"rates.{setting}", retry_after_s=wait_s)


def _headers(resource: Resource, limit: Limit | None, verdict: Verdict | None) -> dict[str, str]:
    if limit is None or verdict is None:
        return {}
    reset_s = math.ceil(verdict.reset_s if verdict.allowed else verdict.retry_s)
    policy = f'"fixed window";"{resource}";q={limit.quota};w={limit.window_s:.0f}'
    return {
        "RateLimit": f'"{resource}";r={verdict.remaining};t={reset_s}',
        "RateLimit-Policy": policy,
    }


def _with(send: Send, headers: dict[str, str]) -> Send:
    async def send_with(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(headers)
        await send(message)

    return send_with
