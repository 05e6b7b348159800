"""How many tokens a request will generate, as far as that can be known before."""

from collections import Counter, defaultdict
from typing import Protocol


class LengthPredictor(Protocol):
    """Foretells output lengths; the answer is clamped to 1..``max_tokens`` by whoever asks."""

    def predict(self, num_prompt_tokens: int, max_tokens: int, group: str = "") -> float:
        """Expected tokens; ``group`` is whatever alike requests share: adapter, endpoint, user."""
        ...

    def learn(self, num_prompt_tokens: int, num_output_tokens: int, group: str = "") -> None:
        """A request finished by itself (was not cancelled) after so many tokens."""
        ...


def clamped(predicted: float, max_tokens: int) -> int:
    """As a request view wants it."""
    return max(1, min(max_tokens, round(predicted)))


class MaxTokens:
    """The bound that the request came with: what the released SCORPIO assumes by default."""

    def predict(self, num_prompt_tokens: int, max_tokens: int, group: str = "") -> float:
        """``max_tokens``."""
        del num_prompt_tokens, group
        return max_tokens

    def learn(self, num_prompt_tokens: int, num_output_tokens: int, group: str = "") -> None:
        """Nothing to learn."""


class GroupMean:
    """The mean of those finished in the same group; of all, until the group has some."""

    def __init__(self, start: float = 256.0) -> None:
        self._start = start
        self._count: Counter[str] = Counter()
        self._sum: defaultdict[str, float] = defaultdict(float)

    def predict(self, num_prompt_tokens: int, max_tokens: int, group: str = "") -> float:
        """The group's mean, with the start value weighing as much as one request."""
        del num_prompt_tokens
        known = group if self._count[group] else ""
        mean = (self._start + self._sum[known]) / (1 + self._count[known])
        return min(mean, max_tokens)

    def learn(self, num_prompt_tokens: int, num_output_tokens: int, group: str = "") -> None:
        """Count it for its group and for all."""
        del num_prompt_tokens
        for name in {group, ""}:
            self._count[name] += 1
            self._sum[name] += num_output_tokens


class Learned:
    """Running means, learned online: of all, of a group, of its prompts of like length (log2).

    Each node leans on the node above as if that had been seen ``weight`` times (empirical Bayes),
    and forgets with a horizon of ``horizon`` requests, so that it follows a changing load.
    """

    def __init__(self, start: float = 256.0, weight: float = 8.0, horizon: int = 2_000) -> None:
        self._start = start
        self._weight = weight
        self._keep = 1 - 1 / horizon
        self._nodes: dict[tuple[object, ...], tuple[float, float]] = {}

    def predict(self, num_prompt_tokens: int, max_tokens: int, group: str = "") -> float:
        """The deepest node's mean."""
        mean = self._start
        for node in self._path(num_prompt_tokens, group):
            count, total = self._nodes.get(node, (0.0, 0.0))
            mean = (self._weight * mean + total) / (self._weight + count)
        return min(mean, max_tokens)

    def learn(self, num_prompt_tokens: int, num_output_tokens: int, group: str = "") -> None:
        """Add it to every node on its path."""
        for node in self._path(num_prompt_tokens, group):
            count, total = self._nodes.get(node, (0.0, 0.0))
            self._nodes[node] = (
                count * self._keep + 1,
                total * self._keep + num_output_tokens,
            )

    @staticmethod
    def _path(num_prompt_tokens: int, group: str) -> tuple[tuple[object, ...], ...]:
        return ((), (group,), (group, num_prompt_tokens.bit_length()))
