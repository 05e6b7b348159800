"""A policy's no on its way through vLLM: from the scheduler's process to the answer's status.

vLLM lets a scheduler end a request with a ``finish_reason`` of its own list and with any
``stop_reason``: what is told travels in that, ``rejected: ttft_unattainable; retry after 0.25 s``.
"""

import re
from dataclasses import dataclass
from typing import Self

from serving.api.errors import ApiError, refusal
from serving.engine.output import Refused
from serving.sched.decision import Reason

_TOLD = re.compile(r"rejected: (?P<code>\w+)(; retry after (?P<seconds>[\d.]+) s)?")
BAD_OBJECTIVE = "bad_objective"
UNSERVED = "input_not_served"
_BAD = {
    BAD_OBJECTIVE: "slo_ttft_ms and slo_tpot_ms of vllm_xargs are milliseconds above 0",
    UNSERVED: "input that comes in parts is not served under objectives",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """``code`` is a ``Reason``, or a word of this module for requests that nobody could serve.

    ``retry_after_s``: when asking again could help, seconds from now; None: never.
    """

    code: str
    retry_after_s: float | None = None

    @property
    def stop_reason(self) -> str:
        """For people and for :meth:`parse`."""
        after = "" if self.retry_after_s is None else f"; retry after {self.retry_after_s:.3f} s"
        return f"rejected: {self.code}{after}"

    @classmethod
    def parse(cls, stop_reason: object) -> Self | None:
        """From a ``stop_reason``; None for one of vLLM's own."""
        found = _TOLD.fullmatch(stop_reason) if isinstance(stop_reason, str) else None
        if found is None:
            return None
        return cls(found["code"], float(found["seconds"]) if found["seconds"] else None)

    @property
    def error(self) -> ApiError:
        """The answer to the client: that of ``clade infer``."""
        if self.code in _BAD:
            return ApiError(400, _BAD[self.code], param="vllm_xargs", code=self.code)
        return refusal(Refused("", Reason(self.code), self.retry_after_s))
