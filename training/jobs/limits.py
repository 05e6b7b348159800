"""What the steps of a run may take, and who decides on them."""

from dataclasses import dataclass

from training.sched.shape import Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimits:
    """``most_tokens``: in a step of more than one job. ``memory_gb``: for base, adapters, batches.

    ``policy_name``: see ``training.sched.policy``.
    """

    layout: Layout
    policy_name: str
    most_jobs: int = 8
    most_tokens: int = 4096
    memory_gb: float | None = None


def policy_for(layout: Layout) -> str:
    """What suits it."""
    return "packed" if layout is Layout.PACKED else "minpad"
