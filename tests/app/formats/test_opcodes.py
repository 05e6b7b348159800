"""A walk over opcodes: no pickle gets past it to an import, and data is not taken for a pickle."""

import collections
import io
import pickle  # noqa: TID251  makes pickles, loads none
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.formats.opcodes import asks_for_imports

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
PLAIN = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.builds(bytearray, st.binary())
    ),
    max_leaves=20,
)
PROTOCOLS = st.integers(0, pickle.HIGHEST_PROTOCOL)


def asks(data: bytes) -> bool:
    return asks_for_imports(io.BytesIO(data))


@given(before=PLAIN, after=PLAIN, protocol=PROTOCOLS)
def test_an_import_is_found_wherever_it_stands(before: object, after: object, protocol: int):
    assert asks(pickle.dumps([before, collections.OrderedDict, after], protocol))


@given(value=PLAIN.filter(lambda value: not isinstance(value, bytearray)))
def test_plain_values_import_nothing(value: object):
    protocol = pickle.HIGHEST_PROTOCOL  # earlier ones call functions to make bytes
    data = pickle.dumps(value, protocol)
    assert not asks(data)
    assert not asks(data[:-1] + b"\xff" + b"cos\nsystem\n.")
    assert asks(data + b"cos\nsystem\n.")


@pytest.mark.parametrize(
    "bomb",
    [
        b"K\x01r" + struct.pack("<I", (1 << 32) - 1) + b"0",
        b"K\x01p" + b"9" * 5000 + b"\n0",
        b"I" + b"9" * 5000 + b"\n0",
        b"S'\xc3\xa9'\n0",
        b"\x970",
        b"S'\xc3\xa9'\n.",
        b"K\x01Nb0",
        b"(" * 100_000 + b"1" * 100_000,
        b")" + b"\x85" * 100_000 + b"0",
    ],
    ids=[
        "memo",
        "memo by text",
        "number",
        "latin",
        "buffer",
        "a pickle before",
        "state",
        "marks",
        "depth",
    ],
)
def test_what_only_some_loads_survive_hides_nothing(bomb: bytes):
    assert asks(bomb + b"cos\nsystem\n.")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"0cos\nsystem\n.",
        b"1cos\nsystem\n.",
        b"K\x01R" + b"cos\nsystem\n.",
        b"c\xff\nsystem\n.",
        b"cos\nsystem",
        b"\x8d" + struct.pack("<Q", 1 << 60) + b"cos\nsystem\n.",
        b"\x8b" + struct.pack("<i", -1) + b"cos\nsystem\n.",
    ],
)
def test_a_load_that_fails_before_imports_nothing(data: bytes):
    assert not asks(data)


def test_weights_are_hardly_ever_taken_for_a_pickle():
    draws = np.random.default_rng(1)
    weights = [draws.normal(size=500).astype("<f4").tobytes() for _ in range(500)]
    assert sum(map(asks, weights)) <= 2
