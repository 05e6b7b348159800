"""What the steps of a run may take, and who decides on them."""

from dataclasses import dataclass

from training.sched.shape import Layout


class TooLittleMemory(Exception):
    """``memory_gb`` is less than what is needed; the message says how much that is."""


def spare_nbytes(memory_gb: float | None, what: str, needed_nbytes: int) -> int | None:
    """What ``memory_gb`` leaves beside what is needed; None: no limit. Raises TooLittleMemory."""
    if memory_gb is None:
        return None
    spare = int(memory_gb * 1e9) - needed_nbytes
    if spare <= 0:
        raise TooLittleMemory(
            f"memory_gb is {memory_gb:g}, but {what} takes {needed_nbytes / 1e9:.3g}: give the"
            " trainer more (memory_gb, --memory-gb, CLADE_TUNING__MEMORY_GB), or none to bound"
            " nothing"
        )
    return spare


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
