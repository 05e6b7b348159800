"""How many bytes other ways of storing models need for a corpus.

Every peer gets whole-file dedup first, as any hub has it. All of them are lossless; each round
trip is checked here, so no peer is credited with bytes that do not come back.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

from bench.corpus import Corpus, CorpusRepo
from bench.plain import serve_plain
from codec.cdc import ChunkBoundaries

ZSTD_LEVEL = 3
SMALL_NBYTES = 4096
ZIPNN_TYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a safetensors file; ``raw`` is its bytes."""

    dtype: str
    shape: tuple[int, ...]
    raw: np.ndarray


def whole_files(corpus: Corpus) -> int:
    """Each distinct file once, as git-lfs and most hubs store it."""
    return sum(len(path_bytes) for _, path_bytes in unique_files(corpus))


def chunked(corpus: Corpus) -> int:
    """Content-defined chunks of 8 to 128 KiB, each distinct one once under zstd."""
    seen: set[bytes] = set()
    stored = 0
    for _, content in unique_files(corpus):
        boundaries = ChunkBoundaries(8 << 10, 64 << 10, 128 << 10)
        ends = boundaries.feed(content)
        last = boundaries.finish()
        start = 0
        for end in [*ends, *([] if last is None else [last])]:
            chunk = content[start:end]
            start = end
            digest = hashlib.sha256(chunk).digest()
            if digest not in seen:
                seen.add(digest)
                stored += zstd_nbytes(chunk)
    return stored


def xet(corpus: Corpus, workspace: Path) -> int:
    """Bytes of the xorbs that hf-xet itself sends for the whole corpus, one repository at a time.

    It deduplicates 64 KiB chunks against everything sent before and compresses with LZ4.
    """
    os.environ["HF_HOME"] = str(workspace / "home")  # its chunk cache must start empty
    import hf_xet

    token = {"token": "bench", "token_expiry_unix_secs": 1 << 33}
    with serve_plain(workspace / "xorbs") as store:
        session = hf_xet.XetSession()
        for repo in corpus.repos:
            with session.new_upload_commit(endpoint=store.url, **token) as commit:
                for file in repo.files:
                    commit.start_upload_file(str(corpus.folder(repo) / file.path))
        return store.xorb_nbytes


def zipnn_per_file(corpus: Corpus) -> int:
    """ZipNN over each weights file, the other files as they are."""
    stored = 0
    for path, content in unique_files(corpus):
        if path.suffix == ".safetensors":
            largest = max(read_tensors(path).values(), key=lambda tensor: tensor.raw.nbytes)
            stored += zipnn_nbytes(content, ZIPNN_TYPES[largest.dtype])
        else:
            stored += len(content)
    return stored


def bitx(corpus: Corpus) -> int:
    """BitX with the right base wherever a tensor of that name and shape exists, zstd elsewhere."""
    stored = 0
    for path, content in unique_files(corpus):
        base = base_tensors(corpus, path)
        if path.suffix != ".safetensors" or not base:
            stored += zstd_nbytes(content)
            continue
        tensors = read_tensors(path)
        stored += len(content) - sum(tensor.raw.nbytes for tensor in tensors.values())
        for name, tensor in tensors.items():
            stored += tensor_nbytes(tensor, base.get(name), alone="zstd")
    return stored


def zipllm(corpus: Corpus) -> int:
    """ZipLLM as its paper has it: equal tensors once, BitX against the right base, ZipNN alone."""
    seen: set[bytes] = set()
    stored = 0
    for path, content in unique_files(corpus):
        if path.suffix != ".safetensors":
            stored += len(content)
            continue
        tensors = read_tensors(path)
        base = base_tensors(corpus, path)
        stored += len(content) - sum(tensor.raw.nbytes for tensor in tensors.values())
        for name, tensor in tensors.items():
            digest = hashlib.sha256(tensor.raw.data).digest()
            if digest not in seen:
                seen.add(digest)
                stored += tensor_nbytes(tensor, base.get(name), alone="zipnn")
    return stored


def unique_files(corpus: Corpus) -> Iterator[tuple[Path, bytes]]:
    """Path and bytes of each distinct file, in the order of the corpus."""
    seen: set[str] = set()
    for repo in corpus.repos:
        for file in repo.files:
            if file.sha256 not in seen:
                seen.add(file.sha256)
                path = corpus.folder(repo) / file.path
                yield path, path.read_bytes()


def base_tensors(corpus: Corpus, path: Path) -> dict[str, Tensor]:
    """Tensors of the model that the one at ``path`` was really made from; empty for a base."""
    repos = {repo.name: repo for repo in corpus.repos}
    repo: CorpusRepo = repos[path.relative_to(corpus.directory).parts[0]]
    if repo.base is None:
        return {}
    tensors: dict[str, Tensor] = {}
    for weights in corpus.weights(repos[repo.base]):
        tensors |= read_tensors(weights)
    return tensors


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, mapped, by name."""
    content = np.memmap(path, np.uint8, mode="r")
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:start].tobytes())
    header.pop("__metadata__", None)
    return {
        name: Tensor(
            entry["dtype"],
            tuple(entry["shape"]),
            content[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]],
        )
        for name, entry in header.items()
    }


def tensor_nbytes(tensor: Tensor, base: Tensor | None, *, alone: str) -> int:
    """BitX if the base has the same type and shape, else the tensor on its own."""
    if base is not None and (base.dtype, base.shape) == (tensor.dtype, tensor.shape):
        return bitx_nbytes(tensor, base)
    if alone == "zipnn" and tensor.dtype in ZIPNN_TYPES and tensor.raw.nbytes >= SMALL_NBYTES:
        return zipnn_nbytes(tensor.raw.tobytes(), ZIPNN_TYPES[tensor.dtype])
    return zstd_nbytes(tensor.raw.tobytes())


def bitx_nbytes(tensor: Tensor, base: Tensor) -> int:
    """XOR, exponent plane and sign-mantissa planes, each under zstd-3 (arXiv 2505.06252 §4.3)."""
    word = np.uint16 if tensor.dtype in {"BF16", "F16"} else np.uint32
    if tensor.raw.nbytes % word().itemsize:
        return zstd_nbytes((tensor.raw ^ base.raw).tobytes())
    difference = tensor.raw.view(word) ^ base.raw.view(word)
    bits = 8 * difference.itemsize
    sign = difference >> (bits - 1)
    rotated = (difference << 1) | sign  # exponent on top, sign at the bottom
    planes = rotated.view(np.uint8).reshape(-1, difference.itemsize)
    return sum(zstd_nbytes(np.ascontiguousarray(plane).tobytes()) for plane in planes.T)


def zstd_nbytes(content: bytes) -> int:
    """Length under zstd, or as it is if that is shorter."""
    frame = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(content)
    assert zstandard.ZstdDecompressor().decompress(frame) == content
    return min(len(frame), len(content))


def zipnn_nbytes(content: bytes, dtype: str) -> int:
    """Length under ZipNN. It works in place, so it gets a copy."""
    from zipnn import ZipNN

    coder = ZipNN(input_format="byte", bytearray_dtype=dtype)
    frame = bytes(coder.compress(bytearray(content)))
    assert bytes(coder.decompress(bytearray(frame))) == content
    return min(len(frame), len(content))
