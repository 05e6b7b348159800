"""Work on many blocks by several threads, which live on between calls with their scratch."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from typing import Any


def spread(work: Callable[[int], Any], indexes: Iterable[int], threads: int) -> None:
    """Call ``work`` for every index, on up to ``threads`` threads; the first error is raised.

    The caller's is one of them, so a call ends even if others keep all helpers busy.
    """
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    indexes = list(indexes)
    waiting = iter(indexes)

    def drain() -> None:
        try:
            for index in waiting:
                work(index)
        except BaseException:
            for _ in waiting:
                pass  # what has not begun will not
            raise

    others = min(threads, len(indexes)) - 1
    helping: list[Future[None]] = [_helpers().submit(drain) for _ in range(others)]
    try:
        drain()
    finally:
        begun = [each for each in helping if not each.cancel()]
        errors = [each.exception() for each in begun]
    for error in filter(None, errors):
        raise error


@lru_cache(maxsize=1)
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="codec")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helpers.cache_clear)  # threads do not survive a fork
