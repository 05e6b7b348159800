"""One answer in the making: its tokens, how many of them are computed, and the KV blocks it holds.

All that is needed to go on with it elsewhere are its request and its tokens: keys and values are
computed again, and draws depend on the seed and the token's number alone.
"""

from collections.abc import Iterator
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
    cache_salt: str | None = None
    """Who names another one, or none, finds nothing of it in the prefix cache."""
    predicted_tokens: int | None = None
    sibling: str | None = None
    """A request with the same prompt that came before: what that computes of it is shared."""


class Sequence:
    """A request that an engine has taken; what policies see of it is ``sched``'s RequestView.

    ``pool``: where it finds its prefix and has its KV blocks. ``salt``: what its keys and values
    depend on beside its tokens.
    """

    def __init__(
        self,
        request: Request,
        *,
        pool: BlockPool,
        block_size: int,
        seed: int = 0,
        salt: bytes = b"",
        text: TextStream | None = None,
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
        self.num_cached_tokens = 0
        """Tokens of the prompt that were in the prefix cache when it first ran."""
        self.first_token_s: float | None = None
        self.seed = seed
        self.text = text
        self.tokens = list(prompt)
        self.blocks: list[int] = []
        self.is_running = False
        self._computed = 0
        self._names = [salt]
        self._block_size = block_size
        self._pool = pool
        self._found: list[int] = []
        self._found_at = -1
        """The pool's version at which it was last looked at."""

    @property
    def num_generated_tokens(self) -> int:
        """Tokens it was given so far."""
        return len(self.tokens) - self.num_prompt_tokens

    @property
    def num_computed_tokens(self) -> int:
        """Tokens whose keys and values it has; while it waits, those it would find in the pool."""
        return self._computed if self.is_running else len(self._find()) * self._block_size

    @property
    def num_blocks(self) -> int:
        """KV blocks it holds; while it waits, those it would share with who holds them."""
        return len(self.blocks) if self.is_running else self._pool.num_shared(self._find())

    @property
    def num_private_blocks(self) -> int:
        """KV blocks that nobody else holds."""
        return self._pool.num_private(self.blocks)

    @property
    def num_pending_tokens(self) -> int:
        """Tokens to compute before the next one is given."""
        return len(self.tokens) - self.num_computed_tokens

    @property
    def generated(self) -> Seq[int]:
        """The tokens it was given."""
        return self.tokens[len(self.request.prompt) :]

    def admit(self) -> None:
        """Run from now on, beginning behind the longest prefix that the pool holds already."""
        assert not self.is_running
        self.blocks = list(self._find())
        self._pool.hold(self.blocks)
        self._computed = len(self.blocks) * self._block_size
        if self.first_token_s is None:
            self.num_cached_tokens = self._computed
        self.is_running = True

    def reserve(self, count: int) -> None:
        """Have KV blocks for ``count`` more computed tokens. Raises NoRoom, changing nothing."""
        assert self.is_running
        wanted = -(-(self._computed + count) // self._block_size) - len(self.blocks)
        if wanted > 0:
            self.blocks += self._pool.allocate(wanted)

    def advance(self, count: int) -> None:
        """``count`` pending tokens are computed; blocks that are full now can be found."""
        assert self.is_running
        before = self._computed // self._block_size
        self._computed += count
        after = self._computed // self._block_size
        for block, name in zip(
            self.blocks[before:after], self._full_names(before, after), strict=True
        ):
            self._pool.name(block, name)

    def retreat(self) -> None:
        """Give all KV blocks back and wait again; tokens stay."""
        self._pool.release(self.blocks)
        self.blocks = []
        self._computed, self._found_at = 0, -1
        self.is_running = False

    def move_blocks(self, moved: dict[int, int]) -> None:
        """Follow blocks to their new places."""
        self.blocks = [moved.get(block, block) for block in self.blocks]

    def move_to(self, pool: BlockPool, block_size: int) -> None:
        """Go on in another pool, whose blocks may have another size."""
        assert not self.is_running
        self._pool, self._block_size, self._found_at = pool, block_size, -1
        del self._names[1:]

    def _find(self) -> list[int]:
        """Blocks of its longest prefix in the pool.

        At least one token stays to be computed: its logits are what the next one is drawn from.
        """
        if self._found_at != self._pool.version:
            usable = (len(self.tokens) - 1) // self._block_size
            self._found = self._pool.find(self._full_names(0, usable))
            self._found_at = self._pool.version
        return self._found

    def _full_names(self, start: int, stop: int) -> Iterator[bytes]:
        """Names of blocks that are full of known tokens, made as they are needed.

        Those before ``start`` have been made.
        """
        size = self._block_size
        for number in range(start, stop):
            if number + 1 == len(self._names):
                tokens = self.tokens[number * size : (number + 1) * size]
                self._names.append(chain(self._names[-1], tokens))
            yield self._names[number + 1]
