"""The ``.gitattributes`` of a new repository, and what decides that a file goes through LFS."""

from app.catalog.patterns import is_lfs_tracked, parse_attributes

LFS_PATTERNS = [
    "*.7z",
    "*.arrow",
    "*.bin",
    "*.bz2",
    "*.ckpt",
    "*.ftz",
    "*.gguf",
    "*.gz",
    "*.h5",
    "*.joblib",
    "*.lfs.*",
    "*.mlmodel",
    "*.model",
    "*.msgpack",
    "*.npy",
    "*.npz",
    "*.onnx",
    "*.ot",
    "*.parquet",
    "*.pb",
    "*.pickle",
    "*.pkl",
    "*.pt",
    "*.pth",
    "*.rar",
    "*.safetensors",
    "saved_model/**/*",
    "*.tar.*",
    "*.tar",
    "*.tflite",
    "*.tgz",
    "*.wasm",
    "*.xz",
    "*.zip",
    "*.zst",
    "*tfevents*",
]

INITIAL_ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS
).encode()


def goes_through_lfs(attributes: str, path: str, nbytes: int, regular_nbytes: int) -> bool:
    """Whether a file of ``nbytes`` is uploaded by LFS or Xet and not inside the commit.

    Empty files never are: the clients cannot send them that way.
    """
    if nbytes == 0:
        return False
    return nbytes >= regular_nbytes or is_lfs_tracked(parse_attributes(attributes), path)
