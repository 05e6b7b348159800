"""The engine and its simulator agree, request by request, on a clock that steps move alike."""

import pytest
import torch

from bench import replay, replay_runs
from bench.engine import BLOCK_SIZE, small_llama
from serving.sched.latency import FittedLatency

LATENCY = FittedLatency(
    a=2e-7, b=1e-4, c=1e-6, d=3e-3, theta=50, phi=4e-3, alpha=4e-5, beta=2e-3, e=1e-8
)


@pytest.fixture(scope="module")
def runner():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    model = small_llama(hidden=64, layers=1)
    yield replay_runs.SteppedRunner(model, num_blocks=replay_runs.NUM_BLOCKS, block_size=BLOCK_SIZE)
    torch.set_num_threads(threads)


@pytest.mark.parametrize("policy", replay.POLICIES)
def test_every_request_ends_as_foretold(runner, policy):
    bodies, scale = replay_runs.bodies_of(), replay_runs.scale_of(LATENCY)
    rate = 2 * replay_runs.capacity(LATENCY, bodies, 60)
    told, done = (replay_runs.requests_of(bodies, rate, 40, 3, scale) for _ in range(2))
    assert replay_runs.simulated(LATENCY, policy, told) == replay_runs.in_steps(
        runner, LATENCY, policy, done
    )
    assert [(each.first_token_s, each.end_s, each.rejection is None) for each in told] == [
        (each.first_token_s, each.end_s, each.rejection is None) for each in done
    ]
