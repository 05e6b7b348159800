"""The script for a GPU runs to its end on a CPU, and says what that is worth."""

import pytest
import torch

from bench import train_gpu


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("part", train_gpu.PARTS)
def test_every_part_runs_on_a_cpu(part: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert train_gpu.main(["--device", "cpu", "--only", part]) == 0
    told = capfd.readouterr().out
    assert "says nothing of a GPU" in told
    assert "| --- |" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert train_gpu.main([]) == 2
    said = capsys.readouterr()
    assert "sees no GPU" in said.err
    assert not said.out
