"""Requests in the order of a key that never changes: sorted once, never re-sorted."""

from bisect import bisect_left
from collections.abc import Callable, Iterator

from serving.sched.request import RequestView

Key = tuple[float, ...]


class Ordered:
    """A sorted set of requests; ties go by arrival, then by who was added first.

    Adding and removing search in O(log n) and shift 8 bytes an entry; iteration is a list's. Do not
    change it while iterating.
    """

    def __init__(self, key: Callable[[RequestView], Key]) -> None:
        self._key = key
        self._places: list[tuple[Key, float, int]] = []
        self._requests: list[RequestView] = []
        self._of: dict[str, tuple[Key, float, int]] = {}
        self._num_added = 0

    def add(self, request: RequestView) -> int:
        """Put a request in its place, and say which; its key is taken now and kept."""
        self._num_added += 1
        order = (self._key(request), request.arrival_s, self._num_added)
        place = bisect_left(self._places, order)
        self._of[request.request_id] = order
        self._places.insert(place, order)
        self._requests.insert(place, request)
        return place

    def remove(self, request: RequestView) -> int | None:
        """Take a request out; the place it had, or None if it was not in."""
        order = self._of.pop(request.request_id, None)
        if order is None:
            return None
        place = bisect_left(self._places, order)
        del self._places[place], self._requests[place]
        return place

    def __iter__(self) -> Iterator[RequestView]:
        return iter(self._requests)

    def __getitem__(self, place: int) -> RequestView:
        return self._requests[place]

    def __len__(self) -> int:
        return len(self._requests)

    def __contains__(self, request: RequestView) -> bool:
        return request.request_id in self._of
