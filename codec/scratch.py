"""Per-thread working memory: zstd contexts and buffers that outlive a block, never a thread."""

import threading

import numpy as np
import zstandard

from codec.buffers import Bytes
from codec.limits import MAX_BLOCK_LOG2

_ENTROPY = zstandard.ZstdCompressionParameters(
    strategy=zstandard.STRATEGY_FAST,
    window_log=17,
    hash_log=6,
    chain_log=6,
    search_log=1,
    min_match=7,
    target_length=0,
    write_content_size=True,
    write_checksum=False,
    write_dict_id=False,
)
"""The least matching zstd can be told to do: planes need its Huffman coder, and runs of zeros."""

_BYTES_LEVEL = 3


class Scratch(threading.local):
    """One thread's zstd contexts and growing buffers; a buffer is valid until its next request."""

    def __init__(self) -> None:
        self.entropy = zstandard.ZstdCompressor(compression_params=_ENTROPY)
        self.bytewise = zstandard.ZstdCompressor(
            level=_BYTES_LEVEL, write_checksum=False, write_content_size=True
        )
        self.zstd = zstandard.ZstdDecompressor(max_window_size=1 << MAX_BLOCK_LOG2)
        self._buffers: dict[str, Bytes] = {}

    def buffer(self, purpose: str, nbytes: int) -> Bytes:
        """``nbytes`` of memory with any content, aligned for every word width."""
        held = self._buffers.get(purpose)
        if held is None or held.size < nbytes:
            held = self._buffers[purpose] = np.empty(nbytes, np.uint8)
        return held[:nbytes]


SCRATCH = Scratch()
"""The scratch of whichever thread looks at it."""
