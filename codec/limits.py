"""Sizes that the format of frames fixes or bounds."""

from typing import Final

BLOCK_LOG2: Final = 20
BLOCK_NBYTES: Final = 1 << BLOCK_LOG2
"""Raw bytes per block that the encoder writes; the format allows 4 KiB to 16 MiB."""
MAX_RAW_NBYTES: Final = 1 << 40
MAX_BLOCKS: Final = 1 << 20
MIN_BLOCK_LOG2: Final = 12
MAX_BLOCK_LOG2: Final = 24
MAX_TABLES_NBYTES: Final = 1 << 16
MAX_RANK: Final = 128
"""Of the low-rank part of a delta."""
MAX_FACTORS_NBYTES: Final = 1 << 26
