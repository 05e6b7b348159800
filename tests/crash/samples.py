"""What is sent to a hub that dies: a base, fine-tunes of it, and bytes of no structure."""

import random

from tests.fixtures.models import as_bf16, base_weights, tuned, weight_file

SHAPES = {"embed_tokens.weight": (1100, 16), "layers.0.up.weight": (64, 64), "norm.weight": (64,)}
BASE = as_bf16(base_weights(shapes=SHAPES))


def random_bytes(seed: int, nbytes: int) -> bytes:
    return random.Random(seed).randbytes(nbytes)


TUNED = [weight_file(tuned(BASE, seed, 5e-4)) for seed in range(3)]
PARTS = random_bytes(1, 250_000)
CHUNKS = random_bytes(2, 200_000)
