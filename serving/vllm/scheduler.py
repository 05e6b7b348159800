"""Our policies as vLLM's scheduler: who waits, runs, skips a step, is preempted or told no.

vLLM goes on composing steps, with its KV cache, prefix cache, adapters and structured output.
Before each step the policy decides over views of its requests; then vLLM is shown those alone that
take part, in the policy's order and with the policy's number of tokens, so that it does that and
nothing else. Tokens of answers do not change: who computes what in which step is all that is
decided.
"""
# pyright: reportMissingImports=false

import time
from collections import deque
from dataclasses import asdict
from typing import Any

from vllm.logger import init_logger
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.interface import PauseState
from vllm.v1.core.sched.output import SchedulerOutput
from vllm.v1.core.sched.request_queue import SchedulingPolicy, create_request_queue
from vllm.v1.engine import EngineCoreOutputs
from vllm.v1.request import Request, RequestStatus

from serving.engine.kept import KeptLatency
from serving.sched.calibrate import UNKNOWN, Calibration
from serving.sched.decision import Decision
from serving.sched.engine import EngineView, Limits
from serving.sched.latency import FittedLatency
from serving.sched.length import Learned
from serving.sched.named import create_policy
from serving.sched.request import Slo
from serving.sched.shape import StepShape
from serving.vllm.objectives import BadObjective, objectives_in
from serving.vllm.options import SchedulingOptions
from serving.vllm.refusal import BAD_OBJECTIVE, UNSERVED, Refusal
from serving.vllm.refusals import Refusals
from serving.vllm.unserved import check_served
from serving.vllm.view import RequestOfVllm

log = init_logger("vllm.clade")
"""vLLM shows what its own loggers say, and those below."""


class ScorpioScheduler(AsyncScheduler):
    """For ``--scheduler-cls``. Written for vLLM 0.32, whose scheduler is no public interface."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        config = self.vllm_config
        check_served(config, self.has_mamba_layers)
        options = SchedulingOptions.of(config.additional_config or {})
        self._limits = self._limits_of(options)
        self._kept = KeptLatency(options.cache, [*_facts(config), asdict(self._limits)])
        known = options.latency or self._kept.read()
        self._latency = known or FittedLatency(**asdict(UNKNOWN))
        self._observe = Calibration(self._latency, is_known=known is not None, told=self._told)
        self._lengths = Learned()
        self._decider = create_policy(options.policy, self._limits, self._latency)
        self._views: dict[str, RequestOfVllm] = {}
        self._blocked: list[Request] = []
        """Waiting for a grammar: the policy does not know them yet."""
        self._refusals = Refusals(self.finish_requests)
        self._steps: deque[tuple[float, StepShape]] = deque()
        """Steps that were begun and not ended: when, and what they compute."""
        self._ended_s = 0.0
        # The order is the policy's; vLLM's queue of --scheduling-policy priority would sort anew.
        self.policy = SchedulingPolicy.FCFS
        self.waiting = create_request_queue(self.policy)
        self.kv_holding_waiting = create_request_queue(self.policy)
        log.info("scheduling by %s; latency %s", options.policy, asdict(self._latency))

    # What vLLM calls.

    def add_request(self, request: Request) -> None:
        """A new request."""
        super().add_request(request)
        extra = request.sampling_params.extra_args if request.sampling_params else None
        try:
            slo = objectives_in(extra)
        except BadObjective:
            self._refusals.add(request, Refusal(BAD_OBJECTIVE))
            return
        if request.resumable:
            self._refusals.add(request, Refusal(UNSERVED))
            return
        view = self._views[request.request_id] = self._view_of(request, slo)
        if self._is_blocked_waiting_status(request.status):
            self._blocked.append(request)
        else:
            self._decider.arrive(view)

    def schedule(self, throttle_prefills: bool = False) -> SchedulerOutput:
        """The next step."""
        begun_s = time.monotonic()
        if self._pause_state is PauseState.UNPAUSED:
            self._take_in()
            output = self._carry_out(self._decide(begun_s), throttle_prefills)
        else:
            output = super().schedule(throttle_prefills)
        self._note(output, begun_s)
        return output

    def update_from_output(
        self, scheduler_output: SchedulerOutput, model_runner_output: Any
    ) -> dict[int, EngineCoreOutputs]:
        """The oldest step has ended."""
        outputs = super().update_from_output(scheduler_output, model_runner_output)
        if scheduler_output.total_num_scheduled_tokens and self._steps:
            begun_s, shape = self._steps.popleft()
            now_s = time.monotonic()
            self._observe.observe(shape, now_s - max(begun_s, self._ended_s))
            self._ended_s = now_s
        self._refusals.tell(outputs)
        return outputs

    def shutdown(self) -> None:
        """Keep what was learned about this engine."""
        if self._observe.is_known:
            self._keep()
        super().shutdown()

    # What vLLM's scheduler tells itself.

    def _preempt_request(
        self, request: Request, timestamp: float, drop_stale_output: bool = False
    ) -> None:
        """By vLLM's own doing: it found no KV blocks, or the prefix cache is reset."""
        super()._preempt_request(request, timestamp, drop_stale_output)
        self._decider.requeue(self._views[request.request_id])

    def _free_request(self, request: Request, delay_free_blocks: bool = False) -> Any:
        """It has ended, in whatever way."""
        view = self._views.pop(request.request_id, None)
        if view is not None:
            self._decider.leave(view)
            if request.status in {
                RequestStatus.FINISHED_STOPPED,
                RequestStatus.FINISHED_LENGTH_CAPPED,
            }:
                self._lengths.learn(view.num_prompt_tokens, request.num_output_tokens, view.group)
        return super()._free_request(request, delay_free_blocks=delay_free_blocks)

    def _update_request_with_output(
        self, request: Request, new_token_ids: list[int], is_stale: bool = False
    ) -> tuple[list[int], bool]:
        if not request.num_output_tokens:
            self._views[request.request_id].first_token_s = time.monotonic()
        return super()._update_request_with_output(request, new_token_ids, is_stale=is_stale)

    # One step.

    def _take_in(self) -> None:
        """Tell the policy of those whose grammar is ready by now."""
        still: list[Request] = []
        for request in self._blocked:
            view = self._views.get(request.request_id)
            if view is None:
                continue  # cancelled
            if self._handle_blocked_waiting_request(request):
                self.deferred_waiting.discard(request)
                self._decider.arrive(view)
            else:
                still.append(request)
        self._blocked = still

    def _decide(self, now_s: float) -> Decision:
        groups = max(1, len(self.kv_cache_config.kv_cache_groups))
        free = self.kv_cache_manager.block_pool.get_num_free_blocks() // groups
        decision = self._decider.decide(EngineView(now_s, free, self._num_blocks))
        for rejection in decision.reject:
            refusal = Refusal(str(rejection.reason), rejection.retry_after_s)
            self._refusals.add(self.requests[rejection.request.request_id], refusal)
        for view in decision.preempt:
            request = self.requests[view.request_id]
            self.running.remove(request)
            super()._preempt_request(request, now_s)
        return decision

    def _carry_out(self, decision: Decision, throttle_prefills: bool) -> SchedulerOutput:
        """Let vLLM compose a step of those that take part; the others are out of its sight."""
        running = {request.request_id: request for request in self.running}
        admitted = [self.requests[view.request_id] for view in decision.admit]
        all_waiting, room = self.waiting, self.max_num_scheduled_tokens
        if admitted:
            all_waiting.remove_requests(admitted)
        self.running = [running.pop(name) for name in decision.tokens if name in running]
        self.waiting = create_request_queue(self.policy)
        for request in admitted:
            self.waiting.add_request(request)
        self.max_num_scheduled_tokens = sum(decision.tokens.values())
        try:
            return super().schedule(throttle_prefills)
        finally:
            self.max_num_scheduled_tokens = room
            self.running += running.values()
            all_waiting.prepend_requests(self.waiting)
            self.waiting = all_waiting
            for request in admitted:
                if request.status is not RequestStatus.RUNNING:
                    self._decider.requeue(self._views[request.request_id])

    def _note(self, output: SchedulerOutput, begun_s: float) -> None:
        """What the step computes, and whose first token it will bring."""
        if not output.num_scheduled_tokens:
            return
        shape = StepShape()
        for name, count in output.num_scheduled_tokens.items():
            request, view = self.requests[name], self._views[name]
            computed = request.num_computed_tokens - count
            if count == 1 and computed >= request.num_prompt_tokens:
                shape.add_decode(computed + 1)
            else:
                shape.add_prefill(count, computed)
            if view.first_token_s is None and not request.is_prefill_chunk:
                view.first_token_s = begun_s
        self._steps.append((begun_s, shape))

    # Parts.

    @property
    def _num_blocks(self) -> int:
        """KV blocks of the pool, without the one that vLLM keeps empty."""
        groups = max(1, len(self.kv_cache_config.kv_cache_groups))
        return (self.cache_config.num_gpu_blocks - 1) // groups

    def _limits_of(self, options: SchedulingOptions) -> Limits:
        return Limits(
            max_num_seqs=self.max_num_active_reqs,
            max_num_batched_tokens=self.max_num_scheduled_tokens,
            block_size=self.block_size,
            chunked_prefill=self.scheduler_config.enable_chunked_prefill,
            max_num_waiting=options.max_num_waiting,
            watermark_blocks=int(self.scheduler_config.watermark * self._num_blocks),
        )

    def _view_of(self, request: Request, slo: Slo) -> RequestOfVllm:
        waited_s = max(0.0, time.time() - request.arrival_time)
        return RequestOfVllm(
            request,
            arrival_s=time.monotonic() - waited_s,
            slo=slo,
            lengths=self._lengths,
            block_size=self.block_size,
            num_cached_tokens=lambda each: self.kv_cache_manager.get_computed_blocks(each)[1],
            num_private_blocks=self._num_private_blocks,
        )

    def _num_private_blocks(self, request: Request) -> int:
        held = self.kv_cache_manager.get_blocks(request.request_id).blocks[0]
        return sum(block.ref_cnt == 1 for block in held)

    def _told(self, latency: FittedLatency) -> None:
        log.info("calibrated on the first steps: %s", asdict(latency))
        self._keep()

    def _keep(self) -> None:
        try:
            self._kept.write(self._latency)
        except OSError as error:
            log.warning("what was learned of this engine is not kept: %s", error)


def _facts(config: Any) -> list[Any]:
    """What the duration of a step depends on, beside the limits."""
    model, parallel = config.model_config, config.parallel_config
    architecture = model.hf_config.to_dict()
    architecture.pop("_name_or_path", None)
    return [
        *("vllm", config.device_config.device_type, architecture),
        *(str(model.dtype), model.quantization),
        *(parallel.tensor_parallel_size, parallel.pipeline_parallel_size),
    ]
