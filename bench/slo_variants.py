"""Policies of the bench alone: SCORPIO with one thing changed, our remedy with one undone."""

from collections.abc import Iterator
from math import inf

from serving.sched.engine import Limits
from serving.sched.latency import LatencyModel
from serving.sched.named import POLICIES, Named
from serving.sched.queueing import QueueingPolicy
from serving.sched.request import RequestView
from serving.sched.scorpio import Scorpio, ScorpioCode
from serving.sched.scorpio_plus import ScorpioPlus
from serving.sched.step import Step
from serving.sched.tpot_guard import TpotGuard
from serving.sched.triage import Bound, PrefillSpeed

BASELINES = ("fcfs", "fcfs-chunked", "sjf", "sjf-oracle", "edf", "fcfs-reject", "mooncake")
"""Without ``priority``: nobody has one in these workloads, so it is ``fcfs-chunked``."""

REJECTING = ("fcfs-reject", "mooncake")

BUDGETS = (256, 512, 2_048)
"""Tokens of a step that each baseline is tuned over."""


class ScorpioChunked(Scorpio):
    """The paper's policy where prompts run beside decodes."""

    name = "scorpio, chunked"
    mixed = True


class ScorpioCodeChunked(ScorpioCode):
    """The code's policy where prompts run beside decodes."""

    name = "scorpio-code, chunked"
    mixed = True


class ScorpioLax(Scorpio):
    """No allowance for what interferes with decodes."""

    name = "scorpio, ε = 1"

    def __init__(self, limits: Limits, latency: LatencyModel) -> None:
        super().__init__(limits, latency)
        self.tpot_guard = TpotGuard(latency, inefficiency=1.0)


class PlusLongSteps(ScorpioPlus):
    """Steps as long as the engine allows, whatever decodes beside."""

    name = "plus, steps not bounded"

    def prefill_budget(self, step: Step) -> int:
        return step.tokens_left


class PlusIdleEstimate(ScorpioPlus):
    """TTFT estimates of an engine that does nothing but prefill."""

    name = "plus, idle-engine estimate"

    def _speed(self) -> PrefillSpeed:
        token_s = self.latency.prefill_token_s
        return PrefillSpeed(inf, token_s, token_s)


class PlusDropsTheLate(ScorpioPlus):
    """Gives up whoever is late, as SCORPIO does, not the heaviest before it."""

    name = "plus, drops the late"

    def late(self, step: Step) -> list[tuple[RequestView, float]]:
        now_s, bounds, found = step.engine.now_s, self.bounds(step), []
        totals = [0.0] * len(bounds)
        for place, (request, due_s) in enumerate(
            zip(self.waiting, self.waiting.due_s.tolist(), strict=True)
        ):
            grown = [
                total + bound.needs[place] for total, bound in zip(totals, bounds, strict=True)
            ]
            ready_s = [
                float(bound.seconds(total)) for total, bound in zip(grown, bounds, strict=True)
            ]
            late_s = now_s + max(ready_s) - due_s
            if late_s > 0:
                found.append((request, late_s))
            else:
                totals = grown
        return found


class PlusCountsNoPlaces(ScorpioPlus):
    """TTFT estimates of an engine that always has a place."""

    name = "plus, places not counted"

    def bounds(self, step: Step) -> list[Bound]:
        prompts, _, blocks = super().bounds(step)
        return [prompts, blocks]


class PlusCountsNoBlocks(ScorpioPlus):
    """TTFT estimates of an engine that always has KV blocks."""

    name = "plus, KV blocks not counted"

    def bounds(self, step: Step) -> list[Bound]:
        return super().bounds(step)[:2]


class PlusAdmitsAll(ScorpioPlus):
    """No virtual batch: who comes first starts."""

    name = "plus, no VBS admission"

    def admissible(self, step: Step) -> Iterator[RequestView]:
        return QueueingPolicy.admissible(self, step)


class PlusCautious(ScorpioPlus):
    """ε as in SCORPIO."""

    name = "plus, ε = 1.3"

    def __init__(self, limits: Limits, latency: LatencyModel) -> None:
        super().__init__(limits, latency)
        self.tpot_guard = TpotGuard(latency, inefficiency=1.3)


VARIANTS = (
    ScorpioChunked,
    ScorpioCodeChunked,
    ScorpioLax,
    PlusLongSteps,
    PlusIdleEstimate,
    PlusDropsTheLate,
    PlusCountsNoPlaces,
    PlusCountsNoBlocks,
    PlusAdmitsAll,
    PlusCautious,
)
GUARDS = ("ttft-guard", "tpot-guard")

POLICIES.update({variant.name: Named(variant) for variant in VARIANTS})
