"""Which form a tensor is stored in: alone or as a delta, and against which base.

Predicted bytes decide, nothing else: a declared base that is the wrong one loses to coding alone,
and no bit-distance threshold is involved (a threshold is wrong at both ends: a distance at which
one codec stops paying is still worth a tenth with another).
"""

from collections.abc import Iterable
from dataclasses import dataclass

DELTA_MARGIN = 0.02
"""Share that a delta must save over coding alone: reading it costs reading its base."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A base that may be used, and what the tensor would take against it."""

    base_id: int
    nbytes: int
    """Predicted stored bytes."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The form decided on; ``base_id`` None means alone."""

    base_id: int | None
    nbytes: int
    """Predicted stored bytes."""


def choose(alone_nbytes: int, offers: Iterable[Offer]) -> Choice:
    """The smallest form; ties go to the older base, so that the same question has one answer."""
    best = min(offers, key=lambda offer: (offer.nbytes, offer.base_id), default=None)
    if best is None or best.nbytes > alone_nbytes * (1 - DELTA_MARGIN):
        return Choice(base_id=None, nbytes=alone_nbytes)
    return Choice(base_id=best.base_id, nbytes=best.nbytes)
