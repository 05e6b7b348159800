"""One engine as the HTTP front sees it: requests go in, each HTTP request gets its events back."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from serving.api.errors import ApiError, bad_params, overloaded
from serving.api.exchange import Exchange
from serving.api.metrics import Metrics
from serving.api.slo import Timing
from serving.api.text import Prompts
from serving.engine.engine import Engine
from serving.engine.loop import EngineDead, EngineLoop
from serving.engine.lora import Adapter
from serving.engine.output import Event, Refused, TokenOutput
from serving.engine.params import BadParams, SamplingParams
from serving.engine.sequence import Request
from serving.sched.decision import Reason
from serving.sched.request import Slo
from serving.weights.hub_models import HubModels, Relative
from serving.weights.live import LiveWeights

BUSY_RETRY_S = 1.0
"""When to come back to a server whose queue is full, where nothing better is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is served, and how much of it at once.

    ``name``: of the model. ``root``: where it came from, ``owner/name@commit`` or a directory.
    ``most_requests``: choices in the engine at once, waiting ones included. ``sampling_defaults``:
    of the model's generation config.
    """

    name: str
    root: str
    prompts: Prompts
    most_requests: int = 2048
    api_key: str | None = None
    sampling_defaults: Mapping[str, Any] = field(default_factory=dict)
    keeps_name: bool = False
    """Whether the name stays when the model is switched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One choice of an HTTP request."""

    prompt: Sequence[int]
    params: SamplingParams


class Service:
    """Requests to events, on the event loop that ``start`` is called on."""

    def __init__(
        self,
        engine: Engine,
        served: Served,
        *,
        hub: HubModels | None = None,
        live: LiveWeights | None = None,
    ) -> None:
        self.engine = engine
        self.served = served
        self.switching = asyncio.Lock()
        self._hub = hub
        self._live = live
        self.metrics = Metrics(engine, served.name)
        self.started_at = int(time.time())
        self.adapters: dict[str, str] = {}
        """Root of each LoRA adapter that is served, by name."""
        self._exchanges: dict[str, tuple[Exchange, int]] = {}
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._loop: EngineLoop | None = None

    def start(self) -> None:
        """Start the engine's thread."""
        self._event_loop = asyncio.get_running_loop()
        self._loop = EngineLoop(self.engine, self._deliver)

    def close(self) -> None:
        """Stop the engine; open answers end with an error."""
        if self._loop is not None:
            self._loop.close()

    @property
    def loop(self) -> EngineLoop:
        """The engine's thread."""
        assert self._loop is not None, "not started"
        return self._loop

    @property
    def num_open(self) -> int:
        """Choices that somebody waits for."""
        return len(self._exchanges)

    @property
    def hub(self) -> HubModels:
        """Where adapters and relatives come from. Raises ApiError if there is no hub."""
        if self._hub is None:
            raise ApiError(400, "this server was started without a hub")
        return self._hub

    @property
    def live(self) -> LiveWeights:
        """The weights that can be switched. Raises ApiError if they came from no hub."""
        if self._live is None:
            raise ApiError(400, "the model was not loaded from a hub and cannot be switched")
        return self._live

    def add_adapter(self, name: str, adapter: Adapter) -> None:
        """Serve an adapter, before ``start``. Raises BadAdapter."""
        self.engine.runner.adapters.add(name, adapter)
        self.adapters[name] = adapter.root

    async def become(self, relative: Relative) -> None:
        """Serve a relative from now on.

        Requests that name it wait until the old model has finished what it began. Raises ApiError
        if the engine was lost on the way.
        """
        prompts = Prompts(relative.around.tokenizer, origin=relative.repo)
        name = self.served.name if self.served.keeps_name else relative.repo
        self.adapters.clear()
        self.metrics.rename(name)
        self.served = replace(
            self.served,
            name=name,
            root=relative.root,
            prompts=prompts,
            sampling_defaults=relative.around.defaults,
        )
        decoder = prompts.decoder()

        def apply(engine: Engine) -> None:
            self.live.apply(relative.staged)
            engine.become(relative.around.ends, decoder)

        try:
            await asyncio.wrap_future(self.loop.call(apply, drained=True))
        except Exception as error:
            self.loop.fail("a switch of the model failed half-way")
            raise ApiError(500, "the switch failed half-way", code="engine_dead") from error

    def adapter_of(self, model: str) -> str | None:
        """The adapter that a model name means. Raises ApiError for an unknown name."""
        if model == self.served.name:
            return None
        if model in self.adapters:
            return model
        raise ApiError(
            404,
            f"the model {model!r} does not exist; served are "
            f"{', '.join([self.served.name, *self.adapters])}",
            code="model_not_found",
            param="model",
        )

    def room_for(self, num_prompt_tokens: int) -> int:
        """Tokens that an answer may have. Raises ApiError if the prompt leaves none."""
        room = self.engine.runner.longest - num_prompt_tokens
        if room < 1:
            raise ApiError(
                400,
                f"the prompt has {num_prompt_tokens} tokens, and prompt and answer together may "
                f"have {self.engine.runner.longest}",
                code="context_length_exceeded",
                param="prompt",
            )
        return room

    @asynccontextmanager
    async def exchange(
        self,
        asked: Iterable[Asked],
        *,
        adapter: str | None = None,
        slo: Slo | None = None,
        priority: int = 0,
        cache_salt: str | None = None,
    ) -> AsyncIterator[Exchange]:
        """Have choices answered; when left, what is unfinished is aborted. Raises ApiError."""
        slo, arrival_s = slo or Slo(), self.engine.clock()
        firsts: dict[tuple[int, ...], str] = {}
        requests: list[Request] = []
        for each in asked:
            request_id, prompt = uuid.uuid4().hex, tuple(each.prompt)
            requests.append(
                Request(
                    request_id=request_id,
                    prompt=prompt,
                    params=each.params,
                    arrival_s=arrival_s,
                    slo=slo,
                    priority=priority,
                    adapter=adapter,
                    cache_salt=cache_salt,
                    sibling=firsts.get(prompt),
                )
            )
            firsts.setdefault(prompt, request_id)
        self._check(requests)
        exchange = Exchange([Timing(arrival_s, slo) for _ in requests])
        try:
            for choice, request in enumerate(requests):
                self._exchanges[request.request_id] = (exchange, choice)
                self._submit(request)
            yield exchange
        finally:
            for choice, request in enumerate(requests):
                if self._exchanges.pop(request.request_id, None) is not None:
                    self.loop.abort(request.request_id)
                    self.metrics.aborted(exchange.timings[choice])

    def _check(self, requests: Sequence[Request]) -> None:
        if self.num_open + len(requests) > self.served.most_requests:
            self.metrics.refused(Reason.QUEUE)
            raise overloaded(Reason.QUEUE, "too many requests are waiting", BUSY_RETRY_S)
        try:
            for request in requests:
                self.engine.check(request)
        except BadParams as error:
            raise bad_params(error) from error

    def _submit(self, request: Request) -> None:
        try:
            self.loop.submit(request)
        except EngineDead as error:
            raise ApiError(503, str(error), code="engine_dead") from error

    def _deliver(self, events: Sequence[Event]) -> None:
        """In the engine's thread."""
        assert self._event_loop is not None
        if not self._event_loop.is_closed():
            self._event_loop.call_soon_threadsafe(self._dispatch, events)

    def _dispatch(self, events: Sequence[Event]) -> None:
        for event in events:
            exchange, choice = self._exchanges.get(event.request_id, (None, 0))
            if exchange is None:
                continue  # its client has gone
            timing = exchange.timings[choice]
            if isinstance(event, TokenOutput):
                self.metrics.token(timing, timing.add(event.at_s))
                exchange.cached_tokens[choice] = event.num_cached_tokens
                if event.finish is not None:
                    self.metrics.finished(timing, event.finish)
            elif isinstance(event, Refused):
                self.metrics.refused(event.reason)
            else:
                self.metrics.failed()
            if not isinstance(event, TokenOutput) or event.finish is not None:
                del self._exchanges[event.request_id]
            exchange.put(choice, event)
