"""Sequences with one prompt: the first computes it, the others wait to find it computed."""

from serving.engine.sequence import Sequence


class Siblings:
    """Who waits behind whom. Policies are not told of them before their prompt is computed."""

    def __init__(self) -> None:
        self._behind: dict[str, list[Sequence]] = {}

    @property
    def num_waiting(self) -> int:
        """Sequences that wait."""
        return sum(map(len, self._behind.values()))

    def wait(self, sequence: Sequence, first: str) -> None:
        """A sequence waits for one that computes the same prompt."""
        self._behind.setdefault(first, []).append(sequence)

    def behind(self, first: str) -> list[Sequence]:
        """Its prompt is computed, or it is refused: those behind it, who wait no longer."""
        return self._behind.pop(first, [])

    def lose(self, request_id: str) -> Sequence | None:
        """It is gone: if it came first, the next one, which must compute the prompt now."""
        left = self.behind(request_id)
        if left:
            self._behind[left[0].request_id] = left[1:]
            return left[0]
        for waiting in self._behind.values():
            waiting[:] = [each for each in waiting if each.request_id != request_id]
        return None
