"""How each content of a file is to be had with the fewest bytes on the wire. No I/O in here."""

from collections.abc import Callable, Iterable
from enum import Enum

from client.plan import RestorePlan


class Way(Enum):
    """Where a content comes from."""

    LOCAL = "local"
    """It is on this machine already."""
    STORED = "stored"
    """Fetch its stored bytes, and its base's if that is not at hand, and decode here."""
    PLAIN = "plain"
    """Fetch its raw bytes as a range of the file."""


def choose_ways(
    plan: RestorePlan, wanted: Iterable[int], is_local: Callable[[bytes], bool]
) -> dict[int, Way]:
    """The way for each wanted content (by number).

    A delta whose base would have to come too is worth it only if both together are less than the
    content itself; a base is paid for once.
    """
    ways: dict[int, Way] = {}
    at_hand: dict[int, bool] = {}
    for number in wanted:
        content = plan.contents[number]
        location = content.location
        if is_local(content.digest):
            ways[number] = Way.LOCAL
        elif location is None:
            ways[number] = Way.PLAIN
        else:
            ways[number] = Way.STORED
            base = location.base
            if base is None:
                continue
            if base not in at_hand:
                at_hand[base] = is_local(plan.contents[base].digest)
            if at_hand[base]:
                continue
            base_location = plan.contents[base].location
            assert base_location is not None
            if location.stored_nbytes + base_location.stored_nbytes > content.nbytes:
                ways[number] = Way.PLAIN
            else:
                at_hand[base] = True
    return ways
