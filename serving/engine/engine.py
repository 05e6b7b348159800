"""The engine: asks the policy what to do, does it in one forward pass, tells what came of it."""

import logging
from collections.abc import Callable, Iterable

import torch

from serving.engine.blocks import BlockPool, NoRoom, salted
from serving.engine.checks import check_request
from serving.engine.output import Event, Failed, Finish, Refused, TokenOutput
from serving.engine.params import BadParams
from serving.engine.profile import shape_of
from serving.engine.runner import Runner
from serving.engine.sampling import Draw, sample
from serving.engine.sequence import Request, Sequence
from serving.engine.siblings import Siblings
from serving.engine.step import Part
from serving.engine.text import Decoder, TextStream
from serving.sched.decision import Decision
from serving.sched.engine import EngineView
from serving.sched.length import LengthPredictor, MaxTokens, clamped
from serving.sched.policy import Policy
from serving.sched.shape import StepShape

log = logging.getLogger(__name__)


class Engine:
    """Runs requests of one model under one policy. Not thread-safe; has no thread of its own.

    ``ends``: the model's end-of-sequence tokens. ``clock``: seconds, never falling. Without a
    ``decoder`` answers are token ids only, and stop strings cannot be had. ``draw_seed``: for
    requests without one. ``lengths`` foretells how long answers get, and learns from them.
    ``observe`` is told of every step and how many seconds it took.
    """

    def __init__(
        self,
        runner: Runner,
        policy: Policy,
        *,
        clock: Callable[[], float],
        ends: Iterable[int] = (),
        decoder: Decoder | None = None,
        draw_seed: Callable[[], int],
        lengths: LengthPredictor | None = None,
        observe: Callable[[StepShape, float], None] = lambda _shape, _seconds: None,
    ) -> None:
        self.runner = runner
        self.policy = policy
        self.blocks = BlockPool(runner.pool.num_blocks)
        self.clock = clock
        self.ends = frozenset(ends)
        self.num_steps = 0
        self.num_preemptions = 0
        self.num_prompt_tokens = 0
        """Tokens of prompts of answers that have begun, and tokens given, over all requests."""
        self.num_generated_tokens = 0
        self.num_looked_up_tokens = 0
        """Tokens of admitted sequences, and how many of them were found in the prefix cache."""
        self.num_found_tokens = 0
        self.is_waiting = False
        """Whether the last step had nothing to compute and none will before something changes."""
        self.again_s: float | None = None
        """When to step again although nothing has changed, on the clock; None: never."""
        self._decoder = decoder
        self._draw_seed = draw_seed
        self._lengths = lengths or MaxTokens()
        self._observe = observe
        self._sequences: dict[str, Sequence] = {}
        self._siblings = Siblings()

    @property
    def sequences(self) -> Iterable[Sequence]:
        """All that wait or run."""
        return self._sequences.values()

    @property
    def num_waiting(self) -> int:
        """Sequences that wait."""
        return self.policy.num_waiting + self._siblings.num_waiting

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._sequences

    def add(self, request: Request) -> None:
        """Take a request; its first event comes with a later step. Raises BadParams, TooLong."""
        self.check(request)
        params = request.params
        text = None
        if self._decoder is not None:
            text = TextStream(
                self._decoder,
                request.prompt,
                stops=params.stop,
                include_stop=params.include_stop_str_in_output,
                skip_special_tokens=params.skip_special_tokens,
            )
        sequence = Sequence(
            request,
            pool=self.blocks,
            block_size=self.runner.pool.block_size,
            seed=self._draw_seed() if params.seed is None else params.seed,
            salt=salted(self.runner.adapters.salt_of(request.adapter), request.cache_salt),
            text=text,
        )
        if request.predicted_tokens is None:
            predicted = self._lengths.predict(
                len(request.prompt), params.max_tokens, _group(request)
            )
            sequence.predicted_tokens = clamped(predicted, params.max_tokens)
        first = self._sequences.get(request.sibling or "")
        if first is not None and first.first_token_s is None:
            self._sequences[request.request_id] = sequence
            self._siblings.wait(sequence, first.request_id)
        else:
            self._take(sequence)

    def check(self, request: Request) -> None:
        """Whether a request can be served at all. Raises BadParams, TooLong."""
        if request.request_id in self._sequences:
            raise BadParams("request_id", f"{request.request_id} is being answered already")
        check_request(request, self.runner, has_decoder=self._decoder is not None)

    def abort(self, request_id: str) -> None:
        """Forget a request, whatever its state; no event is told of it any more."""
        sequence = self._sequences.pop(request_id, None)
        if sequence is not None:
            self.policy.leave(sequence)
            sequence.retreat()
            self.is_waiting = False
            heir = self._siblings.lose(request_id)
            if heir is not None:
                self.policy.arrive(heir)

    def hand_over(self, request_id: str) -> Sequence:
        """Give a sequence away, without its KV blocks, for another engine to adopt."""
        sequence = self._sequences[request_id]
        self.abort(request_id)
        return sequence

    def adopt(self, sequence: Sequence) -> None:
        """Go on with what another engine of the same model and clock has begun.

        Its keys and values are computed again.
        """
        sequence.move_to(self.blocks, self.runner.pool.block_size)
        self._take(sequence)

    def become(self, ends: Iterable[int], decoder: Decoder | None) -> None:
        """The model has other weights now: nothing that was computed before is found again."""
        assert self.is_idle
        self.ends = frozenset(ends)
        self._decoder = decoder
        self.blocks.forget_names()
        self.runner.adapters.clear()
        self.runner.pack()

    def resize_pool(self, num_blocks: int) -> None:
        """Grow or shrink the KV pool; what is held stays. Raises NoRoom if too much is held."""
        moved: dict[int, int] = {}
        if num_blocks < self.blocks.num_blocks:
            moved = self.blocks.shrink(num_blocks)
        elif num_blocks > self.blocks.num_blocks:
            self.blocks.grow(num_blocks)
        self.runner.pool.resize(num_blocks, moved)
        for sequence in self._sequences.values():
            sequence.move_blocks(moved)
        self.is_waiting = False

    def step(self) -> list[Event]:
        """Do what the policy decides now; maybe nothing (see ``again_s``)."""
        view = EngineView(self.clock(), self.blocks.num_free, self.blocks.num_blocks)
        decision = self.policy.decide(view)
        events: list[Event] = []
        for rejection in decision.reject:
            request_id = rejection.request.request_id
            for each in (self._sequences[request_id], *self._siblings.behind(request_id)):
                del self._sequences[each.request_id]
                events.append(Refused(each.request_id, rejection.reason, rejection.retry_after_s))
        parts = self._prepare(decision)
        self.is_waiting = not parts
        self.again_s = None if parts else decision.again_s
        if parts:
            self.num_steps += 1
            events += self._run(parts)
        return events

    def _take(self, sequence: Sequence) -> None:
        self._sequences[sequence.request_id] = sequence
        self.policy.arrive(sequence)
        self.is_waiting = False

    def _prepare(self, decision: Decision) -> list[Part]:
        for view in decision.preempt:
            self.num_preemptions += 1
            self._sequences[view.request_id].retreat()
        for view in decision.admit:
            sequence = self._sequences[view.request_id]
            sequence.admit()
            self.num_looked_up_tokens += len(sequence.tokens)
            self.num_found_tokens += sequence.num_computed_tokens
        parts: list[Part] = []
        for request_id, wanted in decision.tokens.items():
            sequence = self._sequences[request_id]
            count = min(wanted, sequence.num_pending_tokens)
            try:
                sequence.reserve(count)
            except NoRoom:
                sequence.retreat()
                self.policy.requeue(sequence)
            else:
                parts.append((sequence, count))
        return parts

    def _run(self, parts: list[Part]) -> list[Event]:
        shape, start_s = shape_of(parts), self.clock()
        try:
            sampling, logits = self.runner.run(parts)
            draws = sample(sampling, logits, tuple(self.ends)) if sampling else []
        except Exception as error:
            log.exception("a step failed")
            return [self._fail(sequence, error) for sequence, _ in parts]
        for sequence, count in parts:
            sequence.advance(count)
        now = self.clock()
        self._observe(shape, now - start_s)
        return [
            self._give(sequence, draw, now) for sequence, draw in zip(sampling, draws, strict=True)
        ]

    def _give(self, sequence: Sequence, draw: Draw, now: float) -> TokenOutput:
        sequence.tokens.append(draw.token)
        self.num_generated_tokens += 1
        if sequence.first_token_s is None:
            sequence.first_token_s = now
            self.num_prompt_tokens += sequence.num_prompt_tokens
            for each in self._siblings.behind(sequence.request_id):
                self.policy.arrive(each)
        finish, stopped_by = self._finish(sequence, draw.token)
        text = ""
        if sequence.text is not None:
            is_end = finish is Finish.STOP
            text = "" if is_end else sequence.text.push(draw.token)
            if sequence.text.stopped_by is not None:
                finish, stopped_by = Finish.STOP, sequence.text.stopped_by
            elif finish is not None:
                text += sequence.text.finish()
        if finish is not None:
            self._lengths.learn(
                sequence.num_prompt_tokens,
                sequence.num_generated_tokens,
                _group(sequence.request),
            )
            self.abort(sequence.request_id)
        return TokenOutput(
            request_id=sequence.request_id,
            token=draw.token,
            text=text,
            at_s=now,
            logprobs=draw.logprobs,
            finish=finish,
            stopped_by=stopped_by,
            num_cached_tokens=sequence.num_cached_tokens,
        )

    def _finish(self, sequence: Sequence, token: int) -> tuple[Finish | None, int | None]:
        params = sequence.request.params
        if token in params.stop_token_ids:
            return Finish.STOP, token
        if token in self.ends and not params.ignore_eos:
            return Finish.STOP, None
        if sequence.num_generated_tokens >= params.max_tokens:
            return Finish.LENGTH, None
        return None, None

    def _fail(self, sequence: Sequence, error: Exception) -> Failed:
        self.abort(sequence.request_id)
        kind = "out of memory" if isinstance(error, torch.OutOfMemoryError) else "internal error"
        return Failed(sequence.request_id, f"the engine failed in a step: {kind}")


def _group(request: Request) -> str:
    """Answers through one adapter are alike in length."""
    return request.adapter or ""
