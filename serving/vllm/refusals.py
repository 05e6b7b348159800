"""Requests that were told no, until vLLM's next outputs tell their clients."""
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any

import numpy as np
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
from vllm.v1.outputs import LogprobsLists
from vllm.v1.request import Request, RequestStatus

from serving.vllm.refusal import Refusal


class Refusals:
    """``finish``: the scheduler's ``finish_requests``."""

    def __init__(self, finish: Callable[[str, RequestStatus], Any]) -> None:
        self._finish = finish
        self._untold: list[tuple[int, EngineCoreOutput]] = []

    def add(self, request: Request, refusal: Refusal) -> None:
        """End a request unanswered."""
        self._finish(request.request_id, RequestStatus.FINISHED_ABORTED)
        told = EngineCoreOutput(
            request_id=request.request_id,
            **_filler(request.sampling_params),
            finish_reason=FinishReason.ABORT,
            stop_reason=refusal.stop_reason,
            events=request.take_events(),
            trace_headers=request.trace_headers,
        )
        self._untold.append((request.client_index, told))

    def tell(self, outputs: dict[int, EngineCoreOutputs]) -> None:
        """Put those that have not been told among the outputs, by client."""
        for client, told in self._untold:
            outputs.setdefault(client, EngineCoreOutputs()).outputs.append(told)
        self._untold.clear()


def _filler(params: Any) -> dict[str, Any]:
    """What a refusal carries to be told: vLLM drops the only piece of a stream if it is empty."""
    if params is None or params.output_kind is not RequestOutputKind.DELTA:
        return {"new_token_ids": []}
    end = params.eos_token_id or 0
    likely = LogprobsLists(np.array([[end]]), np.array([[0.0]]), np.array([1]))
    return {
        "new_token_ids": [end],
        "new_logprobs": None if params.num_logprobs is None else likely,
    }
