"""Tensors out of a hub, group by group: fetched, decoded and verified while others are being used.

At most ``AHEAD`` groups are in memory and not yet taken; stored bytes that need no base are kept on
this node, so that what shares them, or is a delta against them, need not fetch them again.
"""

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self

import torch

from client.local import LocalContents
from client.rebuild import fill
from serving.weights.checkpoint import Checkpoint
from serving.weights.landing import Allocate, Landing, in_memory

AHEAD = 2

Tensors = dict[str, torch.Tensor]


class Fetcher:
    """Fetches from any checkpoint through one node cache. Close it when done."""

    def __init__(self, local: LocalContents, *, threads: int = 4) -> None:
        self._local = local
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="fetch")
        self._groups = ThreadPoolExecutor(AHEAD, thread_name_prefix="group")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._groups.shutdown(cancel_futures=True)
        self._workers.shutdown(cancel_futures=True)

    def groups(
        self,
        checkpoint: Checkpoint,
        groups: Sequence[Sequence[str]],
        allocate: Allocate = in_memory,
    ) -> Iterator[Tensors]:
        """The tensors of each group of names, in order, every content equal to its digest.

        Raises ClientError.
        """
        waiting: deque[Future[Tensors]] = deque()
        rest = iter(groups)
        try:
            while True:
                while len(waiting) < AHEAD and (names := next(rest, None)) is not None:
                    waiting.append(self._groups.submit(self._fetch, checkpoint, names, allocate))
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def _fetch(self, checkpoint: Checkpoint, names: Sequence[str], allocate: Allocate) -> Tensors:
        by_file: defaultdict[str, list[str]] = defaultdict(list)
        for name in names:
            by_file[checkpoint.shard_of[name].source.file.path].append(name)
        tensors: Tensors = {}
        for own in by_file.values():
            shard = checkpoint.shard_of[own[0]]
            landing = Landing(shard, own, allocate)
            fill(
                shard.source,
                shard.plan,
                landing,
                self._local,
                self._workers,
                landing.finish,
                keep=True,
            )
            tensors |= landing.tensors()
        return tensors
