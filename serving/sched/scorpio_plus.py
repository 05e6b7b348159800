"""SCORPIO's idea on an engine with chunked prefill: ours, for where the original loses."""

from math import inf

import numpy as np

from serving.sched.engine import Limits
from serving.sched.latency import LatencyModel
from serving.sched.ordered import Key
from serving.sched.pace import MARGIN, NOBODY, next_round
from serving.sched.request import RequestView, num_tokens_at_end
from serving.sched.scorpio import TpotGuarded
from serving.sched.step import Step
from serving.sched.tpot_guard import Mix, TpotGuard
from serving.sched.triage import Bound, PrefillSpeed, Supply, fewest_late
from serving.sched.ttft_guard import deadline_s
from serving.sched.turnover import Turnover


class ScorpioPlus(TpotGuarded):
    """Deadline order, virtual batches and rejection as in SCORPIO, with four differences.

    1. Prompts run beside decodes, in chunks as large as the tightest time in hand allows
       (:mod:`serving.sched.pace`), where SCORPIO lets prompts interrupt decodes unaccounted.
    2. Who skips a step is decided by that time too, and only if not all fit: no credits.
    3. The TTFT estimate uses the prefill speed that this leaves and how fast places and KV blocks
       come free (:mod:`serving.sched.turnover`), and drops the fewest
       (:mod:`serving.sched.triage`), where SCORPIO assumes an engine that does nothing else and
       always has both.
    4. Admission keeps the virtual batch below the objective with ε = 1.05, not 1.3, for what ε
       stood for is now in the estimate.
    """

    name = "scorpio-plus"
    mixed = True

    def __init__(self, limits: Limits, latency: LatencyModel) -> None:
        super().__init__(limits, latency)
        self.tpot_guard = TpotGuard(latency, inefficiency=1.05)
        self._round = NOBODY
        self._turnover = Turnover()

    def key(self, request: RequestView) -> Key:
        """The deadline of its first token."""
        return (deadline_s(request),)

    def leave(self, request: RequestView) -> None:
        """A request ended or was cancelled; a place is free if it ran."""
        if request in self.running:
            self._turnover.left()
        super().leave(request)

    def refuse(self, step: Step) -> None:
        """The fewest that keep the rest in time."""
        now_s = step.engine.now_s
        self._turnover.observe(now_s, len(self.running))
        self._round = next_round(self.running.decoding, now_s, self.latency)
        if self.waiting:
            self.reject_late(step, self.late(step))

    def late(self, step: Step) -> list[tuple[RequestView, float]]:
        """Whom to give up, and by how many seconds the plan was late."""
        return fewest_late(self.waiting, step.engine.now_s, self.bounds(step))

    def bounds(self, step: Step) -> list[Bound]:
        """What first tokens wait for, and who is spared where it is short.

        Prompts: the short; places: short answers; KV blocks: who takes few until it ends.
        """
        line = self.waiting
        ahead, speed = self.running.pending_tokens, self._speed()
        per_s = self._turnover.per_second(self.limits.max_num_seqs)
        places = Supply(step.seqs_left, per_s, speed.decodes_s)
        blocks = self._blocks(step, speed.decodes_s)
        taken = np.ceil(line.tokens_at_end / self.limits.block_size)
        pending = line.pending_tokens
        return [
            Bound(pending, lambda total: speed.seconds(ahead + total), pending),
            Bound(np.ones(len(line)), places.seconds, line.predicted_tokens),
            Bound(taken, blocks.seconds, taken),
        ]

    def _blocks(self, step: Step, step_s: float) -> Supply:
        """KV blocks that are left when all that run have grown, and those that leaving frees.

        Who starts on blocks that others are yet to grow into is preempted, or preempts.
        """
        running = len(self.running)
        grown = sum(
            max(request.num_blocks, self.limits.blocks_for(num_tokens_at_end(request)))
            for request in self.running
        )
        free = step.engine.num_blocks - self.limits.watermark_blocks - grown
        return Supply(free, self._turnover.per_second(1) * grown if running else inf, step_s)

    def decoders(self, step: Step) -> list[RequestView]:
        """Those of the round."""
        del step
        return list(self._round.decodes)

    def prefill_budget(self, step: Step) -> int:
        """What keeps the round on pace."""
        return min(step.tokens_left, self._room_beside_round())

    def _speed(self) -> PrefillSpeed:
        """What decodes leave to prompts: now, and when all time in hand is used up."""
        mix = self.running_mix()
        pure_s = self.latency.prefill_token_s
        if not mix.num_seqs:
            return PrefillSpeed(inf, pure_s, pure_s)
        seqs = mix.virtual_batch_size
        room = self._room(mix.tightest_s * MARGIN, seqs, seqs * mix.mean_context)
        steady_s = mix.tightest_s / max(1, min(room, self.limits.max_num_batched_tokens))
        return PrefillSpeed(
            self._room_beside_round(), pure_s, max(pure_s, steady_s), self._round_s(mix)
        )

    def _round_s(self, mix: Mix) -> float:
        """What the decodes of the next step take."""
        num_decodes = len(self._round.decodes)
        return self.latency.decode_s(num_decodes, mix.mean_context) if num_decodes else 0.0

    def _room_beside_round(self) -> int:
        planned = self._round
        return self._room(planned.ends_s, len(planned.decodes), planned.context_tokens)

    def _room(self, seconds: float, num_decodes: float, context_tokens: float) -> int:
        if seconds == inf:
            return self.limits.max_num_batched_tokens
        return self.latency.prompt_tokens_within(seconds, num_decodes, context_tokens)
