"""Which form a tensor is stored in: alone or as a delta, and against which base.

Predicted bytes decide, nothing else: a declared base that is the wrong one loses to coding alone,
and no bit-distance threshold is involved (a threshold is wrong at both ends: a distance at which
one codec stops paying is still worth a tenth with another).
"""

from collections.abc import Iterable
from dataclasses import dataclass

DELTA_MARGIN = 0.02
"""Share that a delta must save over coding alone: reading it costs reading its base."""

ROOT_PREFERENCE = 0.04
"""Share by which a form may be larger if that makes the family's root the base. It is the base that
people expect and that clients have already."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A base that may be used, and what the tensor would take against it."""

    base_id: int
    nbytes: int
    """Predicted stored bytes."""
    of_root: bool = False
    """The base is a tensor of the family's root."""

    @property
    def rank(self) -> tuple[float, int]:
        """Smallest is best."""
        return self.nbytes * (1 - ROOT_PREFERENCE if self.of_root else 1), self.base_id


@dataclass(frozen=True, slots=True)
class Choice:
    """The form decided on; ``base_id`` None means alone."""

    base_id: int | None
    nbytes: int
    """Predicted stored bytes."""


def choose(alone_nbytes: int, offers: Iterable[Offer]) -> Choice:
    """The smallest form, a root's a little before others; ties go to the older base."""
    best = min(offers, key=lambda offer: offer.rank, default=None)
    if best is None or best.nbytes > alone_nbytes * (1 - DELTA_MARGIN):
        return Choice(base_id=None, nbytes=alone_nbytes)
    return Choice(base_id=best.base_id, nbytes=best.nbytes)
