"""The codec's bench: peers give bytes back, sides are measured apart, verdicts are right."""

from pathlib import Path

import numpy as np
import pytest

from bench.codec_data import Pair, PairSet, kept, synthetic_pair
from bench.codec_figures import Figure, write_json
from bench.codec_peers import BITX, CODERS, Work, coder_of
from bench.codec_sides import Side, SideProcess, Sides, faster
from bench.pairs import figures_of, measure
from tests.codec import tensors

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", [*(name for name in CODERS if name != "zipnn"), "BITX"])
@pytest.mark.parametrize("dtype", ["BF16", "F32"])
def test_every_peer_gives_the_bytes_back_twice(name: str, dtype: str):
    for module in ("blosc2", "pcodec", "openzl"):
        if name.startswith(module):
            pytest.importorskip(module)
    base, target = (words.view("u1") for words in tensors.pair(dtype, 600_000))
    for reference in (base, None) if name != "BITX" else (base,):
        out = np.zeros_like(target)
        coder = coder_of(name, Work(target, reference, out, dtype))
        for _ in range(2):
            stored = coder.encode()
            out[:] = 0
            coder.decode(stored)
            assert np.array_equal(out, target)
        assert name == "memcpy" or sum(map(len, stored)) < target.size


def test_sides_run_in_processes_of_their_own(tmp_path: Path):
    base, target = (words.view("u1") for words in tensors.pair("BF16", 400_000))
    tensor = kept(tmp_path, "a pair", "BF16", target, base)
    sides = [Side(BITX), Side("CTX"), Side("CTX", threads=2), Side("CTX", instructions="portable")]
    with Sides(tensor, sides) as processes:
        times = processes.measure(rounds=2, encode_rounds=1)
    assert list(times) == sides
    ours, bitx = times[Side("CTX")], times[Side(BITX)]
    assert ours.stored_nbytes < bitx.stored_nbytes < tensor.nbytes
    assert ours.stored_nbytes == times[sides[3]].stored_nbytes
    assert [len(each) for each in (ours.decode_cpu, ours.encode_wall)] == [2, 1]


def test_side_that_gives_other_bytes_ends_the_run(tmp_path: Path):
    tensor = kept(tmp_path, "raw", "BF16", np.zeros(4000, "u1"))
    process = SideProcess(Side("memcpy"), tensor)
    process.ask("encode")
    with tensor.target.open("r+b") as file:
        file.write(b"\1")
    process.ask("decode")
    with pytest.raises(SystemExit, match="bytes back"):
        process.ask("verify")
    process.close()


def test_ratios_are_of_the_same_round():
    assert faster([1.0, 10.0, 2.0], [2.0, 20.0, 4.0]) == 2.0


def test_verdicts():
    assert Figure("a", 0.7, must=0.8, aim=0.6).verdict == "MET, not the aim"
    assert Figure("a", 0.5, must=0.8, aim=0.6).verdict == "MET, aim too"
    assert Figure("a", 0.9, must=0.8).verdict == "MISSED"
    assert Figure("a", 0.9, must=0.8, less=False).verdict == "MET"
    assert Figure("a", 0.9, must=None, aim=0.95).verdict == "aim too"


def test_figures_of_pairs(tmp_path: Path):
    base, target = (words.view("u1") for words in tensors.pair("BF16", 300_000))
    few = base.copy()
    few[::2000] ^= 1
    dense = PairSet("dense", [Pair("BF16", target, base)])
    sparse = PairSet("sparse", [Pair("BF16", few, base)])
    single = [Pair("F32", *(words.view("u1") for words in tensors.pair("F32", 200_000)))]
    assert (dense.is_sparse, sparse.is_sparse) == (False, True)
    figures = figures_of([measure(each, (1,)) for each in (dense, sparse, PairSet("f", single))])
    names = [figure.name for figure in figures]
    assert "bf16 delta size / BitX, worst" in names
    assert "sparse size / BitX" in names
    write_json(tmp_path / "figures.json", figures, {"rounds": 1})
    assert "fp32 delta size" in (tmp_path / "figures.json").read_text()


def test_synthetic_pair_is_the_same_every_time(tmp_path: Path):
    first, second = (
        synthetic_pair(directory, 1 << 20) for directory in (tmp_path / "a", tmp_path / "b")
    )
    assert first.target.read_bytes() == second.target.read_bytes() != first.base.read_bytes()
