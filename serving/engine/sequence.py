"""One answer in the making: its tokens, how many of them are computed, and the KV blocks it holds.

All that is needed to go on with it elsewhere are its request and its tokens: keys and values are
computed again, and draws depend on the seed and the token's number alone.
"""

from collections.abc import Sequence as Seq
from dataclasses import dataclass, field

from serving.engine.blocks import BlockPool, chain
from serving.engine.params import SamplingParams
from serving.engine.text import TextStream
from serving.sched.request import Slo


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for. ``arrival_s`` is on the engine's clock; ``prompt`` are token ids."""

    request_id: str
    prompt: tuple[int, ...]
    params: SamplingParams
    arrival_s: float
    slo: Slo = field(default_factory=Slo)
    priority: int = 0
    adapter: str | None = None
    """Name of the LoRA adapter; None: the model as it is."""
    predicted_tokens: int | None = None


class Sequence:
    """A request that an engine has taken; what policies see of it is ``sched``'s RequestView."""

    def __init__(
        self, request: Request, *, seed: int, salt: bytes, block_size: int, text: TextStream | None
    ) -> None:
        params, prompt = request.params, request.prompt
        predicted = request.predicted_tokens
        self.request = request
        self.request_id = request.request_id
        self.arrival_s = request.arrival_s
        self.slo = request.slo
        self.priority = request.priority
        self.num_prompt_tokens = len(prompt)
        self.max_tokens = params.max_tokens
        self.predicted_tokens = max(1, min(predicted or self.max_tokens, self.max_tokens))
        self.num_computed_tokens = 0
        self.num_cached_tokens = 0
        """Tokens of the prompt that were in the prefix cache when it first ran."""
        self.first_token_s: float | None = None
        self.seed = seed
        self.text = text
        self.tokens = list(prompt)
        self.blocks: list[int] = []
        self.is_running = False
        self._names = [salt]
        self._block_size = block_size
        self._pool: BlockPool | None = None

    @property
    def num_generated_tokens(self) -> int:
        """Tokens it was given so far."""
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def num_blocks(self) -> int:
        """KV blocks it holds."""
        return len(self.blocks)

    @property
    def num_private_blocks(self) -> int:
        """KV blocks that nobody else holds."""
        return 0 if self._pool is None else self._pool.num_private(self.blocks)

    @property
    def num_pending_tokens(self) -> int:
        """Tokens to compute before the next one is given."""
        return len(self.tokens) - self.num_computed_tokens

    @property
    def generated(self) -> Seq[int]:
        """The tokens it was given."""
        return self.tokens[len(self.request.prompt) :]

    def admit(self, pool: BlockPool) -> None:
        """Run from now on, beginning behind the longest prefix that the pool holds already.

        At least one token stays to be computed: its logits are what the next one is drawn from.
        """
        assert not self.is_running
        usable = (len(self.tokens) - 1) // self._block_size
        self.blocks = pool.find(self._full_names(usable))
        pool.hold(self.blocks)
        self.num_computed_tokens = len(self.blocks) * self._block_size
        if self.first_token_s is None:
            self.num_cached_tokens = self.num_computed_tokens
        self._pool = pool
        self.is_running = True

    def reserve(self, count: int) -> None:
        """Have KV blocks for ``count`` more computed tokens. Raises NoRoom, changing nothing."""
        assert self._pool is not None
        wanted = -(-(self.num_computed_tokens + count) // self._block_size) - len(self.blocks)
        if wanted > 0:
            self.blocks += self._pool.allocate(wanted)

    def advance(self, count: int) -> None:
        """``count`` pending tokens are computed; blocks that are full now can be found."""
        assert self._pool is not None
        before = self.num_computed_tokens // self._block_size
        self.num_computed_tokens += count
        after = self.num_computed_tokens // self._block_size
        for number, name in zip(
            range(before, after), self._full_names(after)[before:], strict=True
        ):
            self._pool.name(self.blocks[number], name)

    def retreat(self) -> None:
        """Give all KV blocks back and wait again; tokens stay."""
        if self._pool is not None:
            self._pool.release(self.blocks)
        self.blocks, self._pool = [], None
        self.num_computed_tokens = 0
        self.is_running = False

    def move_blocks(self, moved: dict[int, int]) -> None:
        """Follow blocks to their new places."""
        self.blocks = [moved.get(block, block) for block in self.blocks]

    def rename_blocks(self, block_size: int) -> None:
        """Go on in a pool with blocks of another size."""
        assert not self.is_running
        self._block_size = block_size
        del self._names[1:]

    def _full_names(self, count: int) -> list[bytes]:
        """Names of the first ``count`` blocks, all of them full of known tokens."""
        size = self._block_size
        while len(self._names) <= count:
            start = (len(self._names) - 1) * size
            self._names.append(chain(self._names[-1], self.tokens[start : start + size]))
        return self._names[1 : count + 1]
