"""The running requests in order, those whose prompts are still under way known apart."""

from collections.abc import Callable

from serving.sched.ordered import Key, Ordered
from serving.sched.request import RequestView, is_decoding, num_pending_tokens


class Running(Ordered):
    """Once in decode a request stays there, so each step looks at those in prefill alone."""

    def __init__(self, key: Callable[[RequestView], Key]) -> None:
        super().__init__(key)
        self.prompts = Ordered(key)
        """Those in prefill, as of the last :meth:`turn`."""

    def add(self, request: RequestView) -> int:
        """A request starts, with its prompt."""
        self.prompts.add(request)
        return super().add(request)

    def remove(self, request: RequestView) -> int | None:
        """A request runs no more; the place it had, or None."""
        self.prompts.remove(request)
        return super().remove(request)

    def turn(self) -> None:
        """Whose prompts are computed by now decode from now on."""
        for request in [request for request in self.prompts if is_decoding(request)]:
            self.prompts.remove(request)

    @property
    def decoding(self) -> list[RequestView]:
        """Those in decode, in order."""
        if not self.prompts:
            return list(self)
        return [request for request in self if request not in self.prompts]

    @property
    def pending_tokens(self) -> int:
        """Prompt tokens that are still to compute."""
        return sum(map(num_pending_tokens, self.prompts))
