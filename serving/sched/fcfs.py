"""First come, first served, and the other fixed orders."""

from serving.sched.ordered import Key
from serving.sched.queueing import QueueingPolicy
from serving.sched.request import RequestView


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
