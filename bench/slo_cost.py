"""What deciding costs: a policy with 256 running and 2,000 waiting, one new arrival each step."""

import gc
import random
import time

from serving.sched.engine import Limits
from serving.sched.fit import fit_latency
from serving.sched.named import create_policy
from serving.sched.request import Slo
from serving.sim.gpus import step_times
from serving.sim.machine import Machine
from serving.sim.profile import profile
from serving.sim.request import SimRequest

RUNNING, WAITING = 256, 2_000


class Crowd:
    """A full engine in front of a long queue that nobody is rejected from."""

    def __init__(self, policy: str) -> None:
        self._rng = random.Random(0)
        latency = fit_latency(profile(step_times("h100", "llama-3-8b"), self._rng))
        limits = Limits(max_num_seqs=RUNNING, max_num_batched_tokens=2_048)
        self.policy = create_policy(policy, limits, latency, oracle=True)
        self._machine = Machine(limits, 40_000)
        self._now_s = 0.0
        self._count = 0
        while self.policy.num_running < RUNNING:
            self._arrive(tpot_s=self._rng.choice((0.3, 0.5)), prompt=self._rng.randint(20, 60))
            self.step()
        while self.policy.num_waiting < WAITING:
            self._arrive()
        self.step()

    def step(self) -> float:
        """CPU seconds that the next decision takes; the arrival before it is not counted."""
        view = self._machine.view(self._now_s)
        gc.disable()
        start_s = time.thread_time()
        decision = self.policy.decide(view)
        spent_s = time.thread_time() - start_s
        gc.enable()
        self._machine.start_step(decision, self._now_s)
        self._now_s += 0.02
        self._machine.end_step(self._now_s)
        return spent_s

    def measure(self, steps: int) -> list[float]:
        """CPU seconds of so many decisions, each after a new arrival."""
        spent = []
        for _ in range(steps):
            self._arrive()
            spent.append(self.step())
        return spent

    def _arrive(self, tpot_s: float | None = None, prompt: int | None = None) -> None:
        rng = self._rng
        self._count += 1
        request = SimRequest(
            request_id=str(self._count),
            arrival_s=self._now_s,
            num_prompt_tokens=prompt or rng.randint(100, 400),
            num_output_tokens=10**6,
            max_tokens=500,
            predicted_tokens=rng.randint(50, 400),
            slo=Slo(ttft_s=1e5 + rng.random(), tpot_s=tpot_s or rng.choice((0.03, 0.05))),
        )
        self._machine.arrive(request)
        self.policy.arrive(request)
