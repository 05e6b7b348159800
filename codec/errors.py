"""What can be wrong with a frame.

    CodecError
    ├── CorruptFrame           the bytes are not a frame, or not the frame that was written
    │   └── UnsupportedFrame   a later version, or a codec this version cannot decode
    └── BaseMismatch           the frame is sound but the given base is not the one it was made with

Wrong arguments (an unknown dtype, a range outside the content, an ``out`` of the wrong length)
are the caller's own mistakes and raise ValueError; :class:`NotNarrow` is one that cannot be seen
before the whole content was.
"""


class CodecError(Exception):
    """Base of everything that decoding raises on account of the bytes it was given."""


class CorruptFrame(CodecError):
    """The bytes are truncated, altered, inconsistent or no frame at all."""


class UnsupportedFrame(CorruptFrame):
    """The frame may be sound, but its version or codec is unknown to this library."""


class BaseMismatch(CodecError):
    """The base is missing, too short, too long or of other content than at encoding time."""


class NotNarrow(ValueError):
    """The content does not consist of the narrower words that its encoder was told of."""
