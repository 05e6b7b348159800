"""The order in which a job sees its samples, known from two integers."""

from collections.abc import Iterator, Sequence

import torch

from training.data.sample import Sample
from training.stream import generator


class Order:
    """Batches without end: epoch after epoch, each in an order of its own.

    An epoch's last batch may be short. Batch ``number`` depends on the seed and on nothing that
    happened before, so a run that goes on needs to know only how many batches it has seen.
    """

    def __init__(self, samples: Sequence[Sample], batch_size: int, seed: int) -> None:
        if not samples:
            raise ValueError("there are no samples to train on")
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        self._epoch, self._permutation = -1, list[int]()

    @property
    def per_epoch(self) -> int:
        """Batches of an epoch."""
        return -(-len(self._samples) // self._batch_size)

    def batch(self, number: int) -> list[Sample]:
        """The batch with this number, from 0 on."""
        epoch, place = divmod(number, self.per_epoch)
        if epoch != self._epoch:
            stream = generator(self._seed, "order", epoch)
            self._permutation = torch.randperm(len(self._samples), generator=stream).tolist()
            self._epoch = epoch
        start = place * self._batch_size
        return [self._samples[i] for i in self._permutation[start : start + self._batch_size]]


def in_batches(samples: Sequence[Sample], size: int) -> Iterator[Sequence[Sample]]:
    """In the order they have, so many at a time."""
    for start in range(0, len(samples), size):
        yield samples[start : start + size]
