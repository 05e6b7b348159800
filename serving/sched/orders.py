"""Fixed orders, nobody refused: by arrival, priority, length, deadline."""

from serving.sched.ordered import Key
from serving.sched.queueing import QueueingPolicy
from serving.sched.request import RequestView
from serving.sched.ttft_guard import deadline_s


class Fcfs(QueueingPolicy):
    """By arrival, prompts first: new requests interrupt those that decode (vLLM V0)."""

    name = "fcfs"


class FcfsChunked(QueueingPolicy):
    """By arrival, chunks of prompts beside all decodes (Sarathi-Serve; vLLM V1)."""

    name = "fcfs-chunked"
    mixed = True


class Priority(QueueingPolicy):
    """By priority, then arrival; mixed steps. The least urgent is preempted first (vLLM V1)."""

    name = "priority"
    mixed = True

    def key(self, request: RequestView) -> Key:
        """The priority."""
        return (request.priority,)


class ShortestFirst(QueueingPolicy):
    """By predicted output, as S3 does; long ones wait as long as shorter ones come."""

    name = "sjf"
    mixed = True

    def key(self, request: RequestView) -> Key:
        """The tokens it is expected to generate."""
        return (request.predicted_tokens,)


class ShortestFirstOracle(ShortestFirst):
    """By true output, which only a simulation knows."""

    name = "sjf-oracle"


class EarliestDeadline(QueueingPolicy):
    """By the deadline of the first token, also when it is past."""

    name = "edf"
    mixed = True

    def key(self, request: RequestView) -> Key:
        """The deadline."""
        return (deadline_s(request),)
