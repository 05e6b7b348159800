"""Streams of chance that are known by name: equal names give equal numbers, in whatever order."""

from hashlib import blake2b

import torch


def generator(*name: object) -> torch.Generator:
    """A generator on the CPU, seeded by its name."""
    digest = blake2b("/".join(map(str, name)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
