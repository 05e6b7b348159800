"""From an exchange to an HTTP answer, whole or streamed; endpoints add the shape of its choices."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from serving.api.bodies import Sampling
from serving.api.errors import ApiError
from serving.api.exchange import Exchange
from serving.api.service import Asked, Service
from serving.api.slo import facts_of, headers_of, slo_of
from serving.api.stream import DONE, EventStream, gone, sse
from serving.engine.output import TokenOutput

Result = TypeVar("Result")

CLIENT_GONE = 499
"""nginx's word for it; nobody reads the answer."""


class ClientGone(Exception):
    """The client closed its connection before it was answered."""


@dataclass(slots=True)
class Choice:
    """A choice as far as it is known."""

    number: int
    text: str = ""
    outputs: list[TokenOutput] = field(default_factory=list)

    def add(self, output: TokenOutput) -> None:
        """One more token."""
        self.text += output.text
        self.outputs.append(output)

    @property
    def ending(self) -> dict[str, Any]:
        """``finish_reason``, and vLLM's ``stop_reason``."""
        last = self.outputs[-1]
        return {"finish_reason": last.finish, "stop_reason": last.stopped_by}


class Shape(Protocol):
    """What is particular to an endpoint."""

    id_prefix: str
    whole_object: str
    chunk_object: str

    def opening(self, choice: int) -> dict[str, Any] | None:
        """What a stream says of a choice before its first token."""
        ...

    def piece(self, choice: Choice, output: TokenOutput) -> dict[str, Any]:
        """A choice in a chunk of a stream; ``choice`` is what was said before."""
        ...

    def whole(self, choice: Choice) -> dict[str, Any]:
        """A choice of a whole answer."""
        ...


async def respond(
    request: Request,
    service: Service,
    body: Sampling,
    asked: Sequence[Asked],
    shape: Shape,
    *,
    num_prompts: int = 1,
) -> Response:
    """Have it answered; ``num_prompts`` of the ``asked`` have prompts of their own."""
    adapter = service.adapter_of(body.model)
    head = {
        "id": shape.id_prefix + uuid.uuid4().hex,
        "created": int(time.time()),
        "model": body.model,
    }
    prompt_tokens = sum(len(each.prompt) for each in asked) * num_prompts // len(asked)
    async with AsyncExitStack() as held:
        exchange = await held.enter_async_context(
            service.exchange(
                asked,
                adapter=adapter,
                slo=slo_of(request.headers, body.slo),
                priority=body.priority,
                cache_salt=body.cache_salt,
            )
        )
        try:
            await _unless_gone(request, exchange.begin())
            if body.stream:
                events = _events(exchange, shape, body, head, prompt_tokens)
                headers = headers_of(exchange.timings, is_over=False)
                return EventStream(events, headers, held.pop_all())
            choices = await _unless_gone(request, _collect(exchange))
        except ClientGone:
            return Response(status_code=CLIENT_GONE)
        answer = {
            **head,
            "object": shape.whole_object,
            "choices": [shape.whole(choice) for choice in choices],
            "usage": _usage(exchange, prompt_tokens),
        }
        return JSONResponse(answer, headers=headers_of(exchange.timings, is_over=True))


async def _collect(exchange: Exchange) -> list[Choice]:
    choices = [Choice(number) for number in range(len(exchange.timings))]
    async for number, output in exchange.outputs():
        choices[number].add(output)
    return choices


async def _events(
    exchange: Exchange, shape: Shape, body: Sampling, head: dict[str, Any], prompt_tokens: int
) -> AsyncIterator[bytes]:
    choices = [Choice(number) for number in range(len(exchange.timings))]

    def chunk(said: list[dict[str, Any]], **more: Any) -> bytes:
        return sse({**head, "object": shape.chunk_object, "choices": said, **more})

    try:
        for number in range(len(choices)):
            if opening := shape.opening(number):
                yield chunk([opening])
        async for number, output in exchange.outputs():
            choice = choices[number]
            piece = shape.piece(choice, output)
            choice.add(output)
            if output.text or output.finish or output.logprobs:
                yield chunk([piece])
        if body.include_usage:
            yield chunk([], usage=_usage(exchange, prompt_tokens))
    except ApiError as error:
        yield sse(error.body)
    yield DONE


def _usage(exchange: Exchange, prompt_tokens: int) -> dict[str, Any]:
    completion_tokens = sum(timing.num_tokens for timing in exchange.timings)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": exchange.cached_tokens[0]},
        "clade": facts_of(exchange.timings),
    }


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of ``work``, cancelled if the client goes away. Raises ClientGone."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(gone(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientGone
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
