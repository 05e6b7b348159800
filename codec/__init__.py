"""Lossless coding of tensors, alone or against a base: buffers in, frames out, nothing else known.

Frames are described in ``docs/formats/frame.md``. Compiled kernels are loaded at first use, so
that importing the package is quick.
"""

from codec.cdc import ChunkBoundaries
from codec.choice.distance import bit_distance
from codec.choice.pairing import choose_delta, tables_for
from codec.choice.prediction import Prediction, predict
from codec.choice.ranks import choose_factors
from codec.choice.sketches import (
    cast_sketch,
    predict_from_sketches,
    sketch,
    sketch_distance,
    sketch_from_samples,
    sketch_ranges,
    sketched_dtype,
)
from codec.context.training import is_contextual, train, training_ranges
from codec.elements.casts import narrow_dtype
from codec.elements.words import Words
from codec.errors import BaseMismatch, CodecError, CorruptFrame, NotNarrow, UnsupportedFrame
from codec.frames.coder import FrameEncoder, decode_block, verify_block
from codec.frames.head import FIXED_NBYTES, BlockInfo, FrameHead, FrameInfo
from codec.limits import BLOCK_NBYTES
from codec.lowrank.factors import Factors
from codec.lowrank.shift import MovedBase
from codec.machine.warm import Loaded, load
from codec.sparse.training import train_sparse
from codec.whole import decode, decode_range, encode, inspect

__all__ = [
    "BLOCK_NBYTES",
    "FIXED_NBYTES",
    "BaseMismatch",
    "BlockInfo",
    "ChunkBoundaries",
    "CodecError",
    "CorruptFrame",
    "Factors",
    "FrameEncoder",
    "FrameHead",
    "FrameInfo",
    "Loaded",
    "MovedBase",
    "NotNarrow",
    "Prediction",
    "UnsupportedFrame",
    "Words",
    "bit_distance",
    "cast_sketch",
    "choose_delta",
    "choose_factors",
    "decode",
    "decode_block",
    "decode_range",
    "encode",
    "inspect",
    "is_contextual",
    "load",
    "narrow_dtype",
    "predict",
    "predict_from_sketches",
    "sketch",
    "sketch_distance",
    "sketch_from_samples",
    "sketch_ranges",
    "sketched_dtype",
    "tables_for",
    "train",
    "train_sparse",
    "training_ranges",
    "verify_block",
]
