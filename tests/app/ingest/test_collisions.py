"""Bytes that are one to a fast hash are two to the hub: who comes second gets his own back."""

from collections.abc import Callable

import pytest

from tests.fixtures.collisions import xxh3_pair, xxh64_pair
from tests.fixtures.files import safetensors_of
from tests.fixtures.models import ModelHub

Form = Callable[[bytes], dict[str, bytes]]


def as_file(data: bytes) -> dict[str, bytes]:
    return {"weights.bin": data}


def as_tensor(data: bytes) -> dict[str, bytes]:
    return {"model.safetensors": safetensors_of({"t": ("BF16", [len(data) // 2], data)})}


def as_part_of_a_file(data: bytes) -> dict[str, bytes]:
    return {"weights.bin": b"\1" * (3 << 20) + data + b"\2" * (3 << 20)}


@pytest.mark.parametrize("form", [as_file, as_tensor, as_part_of_a_file])
@pytest.mark.parametrize("pair", [xxh64_pair, xxh3_pair])
def test_the_second_of_two_that_collide_is_another(
    models: ModelHub, pair: Callable[[int], tuple[bytes, bytes]], form: Form
):
    first, second = pair(7)
    assert first != second
    models.push("alice/first", form(first))
    models.run_jobs()
    models.push("bob/second", form(second))
    models.run_jobs()
    models.check()
