"""Who holds which KV block: a counted pool whose full blocks are found again by what they hold.

A full block is named by a digest over its tokens and the name of the block before it, so equal
prefixes have equal names (vLLM's automatic prefix caching does it the same way). A named block that
nobody holds any more stays until its room is needed, least recently released first.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b


class NoRoom(Exception):
    """There are not as many free KV blocks as were asked for."""


def chain(parent: bytes, tokens: Sequence[int]) -> bytes:
    """Name of a full block: 16 bytes over its parent's name (or a salt) and its token ids."""
    ids = b"".join(token.to_bytes(4, "little") for token in tokens)
    return blake2b(parent + ids, digest_size=16).digest()


def salted(salt: bytes, secret: str | None) -> bytes:
    """What a chain of names begins with: ``salt``, or 16 bytes over it and a client's secret.

    Without the secret nobody can name such blocks, nor learn by a faster answer what was asked.
    """
    if secret is None:
        return salt
    apart = len(salt).to_bytes(4, "little") + salt + secret.encode("utf-8", "surrogatepass")
    return blake2b(apart, digest_size=16, person=b"cache_salt").digest()


class BlockPool:
    """Counts holders of ``num_blocks`` KV blocks. Knows numbers, no tensors."""

    def __init__(self, num_blocks: int) -> None:
        if num_blocks < 1:
            raise ValueError("a KV pool has at least one block")
        self._holders = [0] * num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))
        self._name_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        """Named blocks without a holder, oldest release first."""
        self.version = 0
        """Grows whenever a name is given, moved or forgotten."""

    @property
    def num_blocks(self) -> int:
        """All there are."""
        return len(self._holders)

    @property
    def num_free(self) -> int:
        """How many can be allocated now."""
        return len(self._free) + len(self._idle)

    @property
    def num_held(self) -> int:
        """How many have a holder."""
        return self.num_blocks - self.num_free

    def num_private(self, blocks: Iterable[int]) -> int:
        """How many of these held blocks have no other holder."""
        return sum(self._holders[block] == 1 for block in blocks)

    def num_shared(self, blocks: Iterable[int]) -> int:
        """How many of these blocks have a holder: one more takes none of the free ones."""
        return sum(self._holders[block] > 0 for block in blocks)

    def find(self, names: Iterable[bytes]) -> list[int]:
        """Blocks of the longest known prefix of a chain of names. Takes no hold."""
        found: list[int] = []
        for name in names:
            block = self._block_of.get(name)
            if block is None:
                break
            found.append(block)
        return found

    def hold(self, blocks: Iterable[int]) -> None:
        """One more holder for each of these known blocks."""
        for block in blocks:
            self._holders[block] += 1
            self._idle.pop(block, None)

    def allocate(self, count: int) -> list[int]:
        """``count`` blocks with one holder and without a name. Raises NoRoom, taking none."""
        if count > self.num_free:
            raise NoRoom(f"{count} KV blocks wanted, {self.num_free} free")
        taken = [self._free.pop() if self._free else self._evict() for _ in range(count)]
        for block in taken:
            self._holders[block] = 1
        return taken

    def release(self, blocks: Sequence[int]) -> None:
        """One holder less for each; the end of a chain goes to be evicted before its start."""
        for block in reversed(blocks):
            assert self._holders[block] > 0, "released more often than held"
            self._holders[block] -= 1
            if self._holders[block]:
                continue
            if block in self._name_of:
                self._idle[block] = None
            else:
                self._free.append(block)

    def name(self, block: int, name: bytes) -> None:
        """Say what a full, computed block holds. The first block of a name keeps it."""
        if name not in self._block_of and block not in self._name_of:
            self._block_of[name] = block
            self._name_of[block] = name
            self.version += 1

    def forget_names(self) -> None:
        """No block is found again: the weights that computed them are gone."""
        self.version += 1
        self._name_of.clear()
        self._block_of.clear()
        self._free.extend(self._idle)
        self._idle.clear()

    def grow(self, num_blocks: int) -> None:
        """Have ``num_blocks``, more than now."""
        assert num_blocks > self.num_blocks
        self._free[:0] = range(num_blocks - 1, self.num_blocks - 1, -1)
        self._holders.extend([0] * (num_blocks - self.num_blocks))

    def shrink(self, num_blocks: int) -> dict[int, int]:
        """Keep the first ``num_blocks``; held blocks above move below: ``{from: to}``.

        Idle ones above are forgotten. Raises NoRoom if more are held than would be left.
        """
        if num_blocks < 1 or self.num_held > num_blocks:
            raise NoRoom(f"{self.num_held} KV blocks are held, {num_blocks} would be left")
        for block in [block for block in self._idle if block >= num_blocks]:
            del self._idle[block]
            self._drop_name(block)
        self._free = [block for block in self._free if block < num_blocks]
        moved: dict[int, int] = {}
        for block in range(num_blocks, self.num_blocks):
            if self._holders[block]:
                target = self._free.pop() if self._free else self._evict()
                moved[block] = target
                self._holders[target] = self._holders[block]
                name = self._drop_name(block)
                if name is not None:
                    self.name(target, name)
        del self._holders[num_blocks:]
        return moved

    def check(self) -> None:
        """Raises AssertionError if the books do not add up."""
        unheld = {block for block, holders in enumerate(self._holders) if not holders}
        assert len(self._free) == len(set(self._free)), "a block is free twice"
        assert unheld == set(self._free) | set(self._idle), "a block is neither free nor held"
        assert not set(self._free) & set(self._idle), "a block is free and idle"
        assert self._block_of == {name: block for block, name in self._name_of.items()}
        assert set(self._idle) <= set(self._name_of), "an idle block without a name"

    def _evict(self) -> int:
        block, _ = self._idle.popitem(last=False)
        self._drop_name(block)
        return block

    def _drop_name(self, block: int) -> bytes | None:
        name = self._name_of.pop(block, None)
        if name is not None:
            del self._block_of[name]
            self.version += 1
        return name
