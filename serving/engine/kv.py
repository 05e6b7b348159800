"""The KV pool: keys and values of every attention layer, in blocks that can be had in any order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class KvShape:
    """What one attention layer keeps of a token: heads, and the widths of a key and a value."""

    num_heads: int
    key_dim: int
    value_dim: int


def block_nbytes(shapes: Sequence[KvShape], block_size: int, dtype: torch.dtype) -> int:
    """Bytes of one block over all layers."""
    widths = sum(shape.num_heads * (shape.key_dim + shape.value_dim) for shape in shapes)
    return widths * block_size * dtype.itemsize


class KvPool:
    """Per layer two tensors ``[num_blocks, block_size, num_heads, dim]``, zeroed at first.

    Zeroed, because what a mask hides is still multiplied by nought, which must not be a NaN.
    """

    def __init__(
        self,
        shapes: Sequence[KvShape],
        *,
        num_blocks: int,
        block_size: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.block_size = block_size
        self.layers = [
            tuple(
                torch.zeros(
                    (num_blocks, block_size, shape.num_heads, dim), dtype=dtype, device=device
                )
                for dim in (shape.key_dim, shape.value_dim)
            )
            for shape in shapes
        ]
        self._gathered: list[torch.Tensor] = []
        """Room for what is gathered, used over and over: fresh memory costs more than the copy."""

    @property
    def num_blocks(self) -> int:
        """Blocks of the pool."""
        return self.layers[0][0].shape[0]

    def write(
        self, layer: int, slots: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> None:
        """Keep keys ``[tokens, num_heads, dim]`` and values at ``slots`` (block * size + place)."""
        for kept, new in zip(self.layers[layer], (keys, values), strict=True):
            kept.view(-1, *kept.shape[2:]).index_copy_(0, slots, new)

    def gather(
        self, layer: int, blocks: torch.Tensor, rows: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of ``rows`` block tables, one after the other in ``blocks``.

        Each ``[rows, num_heads, tokens, dim]``: views of a copy with the heads behind the tokens,
        which the next call overwrites.
        """
        keys, values = (
            self._take(place, kept, blocks).view(rows, -1, *kept.shape[2:]).transpose(1, 2)
            for place, kept in enumerate(self.layers[layer])
        )
        return keys, values

    def _take(self, place: int, kept: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
        wanted = len(blocks) * kept[0].numel()
        while len(self._gathered) <= place:
            self._gathered.append(kept.new_empty(0))
        if self._gathered[place].numel() < wanted:
            self._gathered[place] = kept.new_empty(wanted)
        room = self._gathered[place][:wanted].view(len(blocks), *kept.shape[1:])
        return torch.index_select(kept, 0, blocks, out=room)

    def resize(self, num_blocks: int, moved: Mapping[int, int]) -> None:
        """Grow or shrink, one layer after the other; ``moved`` blocks are copied to their places.

        At most one layer exists twice at a time.
        """
        sources = torch.tensor(list(moved), dtype=torch.long)
        targets = torch.tensor(list(moved.values()), dtype=torch.long)
        for number, layer in enumerate(self.layers):
            self.layers[number] = tuple(
                _resized(kept, num_blocks, sources, targets) for kept in layer
            )


def _resized(
    kept: torch.Tensor, num_blocks: int, sources: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    if len(sources):
        kept[targets.to(kept.device)] = kept[sources.to(kept.device)]
    resized = kept.new_zeros((num_blocks, *kept.shape[1:]))
    both = min(num_blocks, kept.shape[0])
    resized[:both] = kept[:both]
    return resized
