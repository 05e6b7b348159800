"""Runs are repeatable, comparable, and counted over all that was offered."""

import random
from dataclasses import replace

import pytest

from serving.sched.decision import Reason, Rejection
from serving.sched.length import GroupMean, Learned, MaxTokens
from serving.sim.arrivals import Arrival
from serving.sim.experiment import Setting, capacity, run
from serving.sim.gpus import STEP_TIMES, UnknownHardware, step_times
from serving.sim.interval import interval
from serving.sim.outcome import outcome
from serving.sim.workload import SLO_CLASSES, chat_bodies, make_requests
from tests.fixtures.serving import make_request

SETTING = Setting(gpu="a100", model="llama-3-8b", process="poisson", count=120)
BODIES = [Arrival(float(n), 50 + 90 * (n % 20), 5 + n % 30) for n in range(200)]


@pytest.mark.parametrize("policy", ["fcfs", "mooncake", "scorpio-code", "scorpio-plus"])
def test_equal_seeds_give_equal_runs_and_others_do_not(policy: str) -> None:
    first, again, other = (run(SETTING, BODIES, policy, 12.0, seed) for seed in (1, 1, 2))

    assert first == again
    assert first != other


@pytest.mark.parametrize("process", ["trace", "burst"])
@pytest.mark.parametrize("predictor", ["oracle", "learned", "mean", "max"])
def test_every_kind_of_run_ends(process, predictor) -> None:
    setting = replace(SETTING, process=process, predictor=predictor, refit=True)

    found = run(setting, BODIES, "scorpio", 20.0, 0)

    assert found.offered == 120
    assert 0 <= found.adherence <= 1 - found.rejected


def test_capacity_is_what_a_saturated_engine_finishes() -> None:
    most = capacity(SETTING, BODIES, count=300)

    flooded = run(replace(SETTING, count=300), BODIES, "fcfs-chunked", 50 * most, 1)
    assert flooded.offered / flooded.duration_s == pytest.approx(most, rel=0.1)
    idle = run(SETTING, BODIES, "fcfs-chunked", 0.05 * most, 1)
    assert idle.adherence > 0.95


def test_outcome_counts_rejected_as_not_good_and_goodput_over_offered_time() -> None:
    good = make_request("good", output=1, ttft_s=1.0, slo_class="a", arrival_s=0.0)
    late = make_request("late", output=1, ttft_s=1.0, slo_class="b", arrival_s=1.0)
    slow = make_request("slow", output=2, tpot_s=0.5, slo_class="b", arrival_s=1.0)
    refused = make_request("refused", slo_class="a", arrival_s=2.0)
    good.give_token(0.5)
    late.give_token(2.5)
    slow.give_token(1.5)
    slow.give_token(2.5)
    refused.rejection, refused.end_s = Rejection(refused, Reason.TTFT, 1.0), 2.0

    found = outcome([good, late, slow, refused], 2.5)

    assert (found.adherence, found.rejected, found.goodput) == (0.25, 0.25, 0.5)
    assert (found.ttft_met, found.tpot_met, found.tokens) == (0.5, 0.5, 4)
    assert found.p99_gap_s == 1.0
    assert found.classes["a"].adherence == 0.5
    assert found.classes["b"].tpot_met == 0.5


def test_objectives_are_the_six_evenly_and_the_same_for_every_predictor() -> None:
    noisy = make_requests(BODIES * 15, random.Random(1))
    exact = make_requests(BODIES * 15, random.Random(1), noise=0.0)

    counts = [sum(r.slo_class == name for r in noisy) for name in SLO_CLASSES]
    assert min(counts) > 0.8 * len(noisy) / 6
    assert [r.slo for r in noisy] == [r.slo for r in exact]
    assert all(r.predicted_tokens == r.num_output_tokens for r in exact)


def test_chat_lengths_have_the_published_means() -> None:
    bodies = chat_bodies(random.Random(1), 20_000)

    assert sum(b.num_prompt_tokens for b in bodies) / 20_000 == pytest.approx(161, rel=0.06)
    assert sum(b.num_output_tokens for b in bodies) / 20_000 == pytest.approx(338, rel=0.06)


def test_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0, 4.0, 5.0])

    assert found.mean == 3
    assert found.half == pytest.approx(2.776 * 1.5811388 / 5**0.5)
    assert interval([4.0]).half == 0


def test_unknown_hardware_names_what_there_is() -> None:
    with pytest.raises(UnknownHardware, match="a100 × llama-3-8b, h100 × llama-3-8b"):
        step_times("tpu", "llama-3-8b")
    assert all(times.notes for times in STEP_TIMES)


def test_learned_lengths_follow_groups_and_prompts() -> None:
    learned, mean = Learned(), GroupMean()
    for _ in range(300):
        for prompt, output, group in ((100, 20, "code"), (3_000, 400, "code"), (100, 900, "chat")):
            learned.learn(prompt, output, group)
            mean.learn(prompt, output, group)

    assert learned.predict(100, 2_000, "code") == pytest.approx(20, rel=0.3)
    assert learned.predict(3_000, 2_000, "code") == pytest.approx(400, rel=0.1)
    assert learned.predict(100, 2_000, "chat") == pytest.approx(900, rel=0.1)
    assert learned.predict(100, 50, "chat") == 50
    assert mean.predict(100, 2_000, "code") == pytest.approx(210, rel=0.05)
    assert mean.predict(100, 2_000, "new") == pytest.approx(440, rel=0.05)
    assert MaxTokens().predict(1, 77) == 77


def test_a_small_kv_pool_is_what_is_short() -> None:
    small, large = (replace(SETTING, count=400, kv_tokens=tokens) for tokens in (8_000, 400_000))

    assert capacity(small, BODIES) < capacity(large, BODIES)


def test_a_kv_pool_too_small_for_one_request_is_told() -> None:
    with pytest.raises(ValueError, match=r"1,7\d\d tokens does not fit into a KV pool of 1,600"):
        capacity(replace(SETTING, kv_tokens=1_600), BODIES)
