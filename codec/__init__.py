"""Lossless coding of tensors, alone or against a base: buffers in, frames out, nothing else known.

Frames are described in ``docs/formats/frame.md``. Compiled kernels are loaded at first use, so
that importing the package is quick.
"""

from codec.cdc import ChunkBoundaries
from codec.coder import FrameEncoder, decode_block, verify_block
from codec.distance import bit_distance
from codec.errors import BaseMismatch, CodecError, CorruptFrame, UnsupportedFrame
from codec.frame import BLOCK_NBYTES, FIXED_NBYTES, BlockInfo, FrameHead, FrameInfo
from codec.prediction import Prediction, predict
from codec.sketches import (
    predict_from_sketches,
    sketch,
    sketch_distance,
    sketch_from_samples,
    sketch_ranges,
)
from codec.training import is_contextual, train, training_ranges
from codec.whole import decode, decode_range, encode, inspect

__all__ = [
    "BLOCK_NBYTES",
    "FIXED_NBYTES",
    "BaseMismatch",
    "BlockInfo",
    "ChunkBoundaries",
    "CodecError",
    "CorruptFrame",
    "FrameEncoder",
    "FrameHead",
    "FrameInfo",
    "Prediction",
    "UnsupportedFrame",
    "bit_distance",
    "decode",
    "decode_block",
    "decode_range",
    "encode",
    "inspect",
    "is_contextual",
    "predict",
    "predict_from_sketches",
    "sketch",
    "sketch_distance",
    "sketch_from_samples",
    "sketch_ranges",
    "train",
    "training_ranges",
    "verify_block",
]
