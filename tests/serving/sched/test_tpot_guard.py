"""TRP, VBS, admission and credits on sets worked out by hand from the paper's formulas."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.sched.latency import FittedLatency
from serving.sched.line import Line
from serving.sched.tpot_guard import Mix, TpotGuard
from tests.fixtures.serving import make_request

# ITL(B, L) = 0.01 ms·B·L + 1 ms·B + 10 ms
LATENCY = FittedLatency(a=1e-5, b=1e-3, c=0, d=0.010, theta=0, phi=0, alpha=1e-4, beta=0)


def mix_of(*requests) -> Mix:
    mix = Mix()
    for request in requests:
        mix = mix.with_(request)
    return mix


def test_virtual_batch_size_sums_shares_of_the_tightest() -> None:
    loose = make_request("loose", tpot_s=0.050, prompt=100)
    tight = make_request("tight", tpot_s=0.030, prompt=300)

    assert mix_of(loose, loose).virtual_batch_size == pytest.approx(2)
    assert mix_of(loose, loose, tight).virtual_batch_size == pytest.approx(1 + 2 * 3 / 5)
    assert mix_of(loose, tight).mean_context == 200


def test_estimate_is_the_papers() -> None:
    guard = TpotGuard(LATENCY)
    mix = mix_of(*(make_request(str(n), tpot_s=0.03, prompt=200) for n in range(4)))

    # ε·[(a·B + c)(L + P/2) + b·B + d], B=4, L=200, P=100
    assert guard.tpot_s(mix, 100) == pytest.approx(1.3 * (4e-5 * 250 + 0.004 + 0.010))


def test_admission_reweights_by_the_newcomer() -> None:
    guard = TpotGuard(LATENCY, inefficiency=1.0)
    running = mix_of(*(make_request(str(n), tpot_s=0.1, prompt=100) for n in range(8)))
    tight = make_request("tight", tpot_s=0.022, prompt=100, predicted=1, output=1)

    # B' = 1 + 8 · .22 = 2.76, L = 100: 2.76·1.005 + 2.76 + 10 = 15.53 ms
    assert guard.tpot_s(running.with_(tight), 1) == pytest.approx(0.015534, abs=1e-6)
    assert guard.admits(running, tight)
    assert not TpotGuard(LATENCY, inefficiency=1.5).admits(running, tight)


def test_margin_of_the_released_code_refuses_the_last_percent() -> None:
    request = make_request("r", tpot_s=0.012, prompt=99, predicted=2, output=2)
    exact = LATENCY.decode_s(1, 100)  # 12 ms

    assert exact == pytest.approx(0.012)
    assert TpotGuard(LATENCY, inefficiency=0.9999).admits(Mix(), request)
    assert not TpotGuard(LATENCY, inefficiency=0.9999, margin=0.99).admits(Mix(), request)


@given(
    running=st.lists(st.tuples(st.floats(0.01, 0.2), st.integers(1, 2_000)), max_size=12),
    waiting=st.lists(
        st.tuples(st.floats(0.01, 0.2), st.integers(1, 2_000), st.integers(1, 500)), max_size=12
    ),
)
def test_the_line_is_asked_as_each_request_would_be(running, waiting) -> None:
    guard = TpotGuard(LATENCY)
    mix = mix_of(*(make_request(str(n), tpot_s=t, prompt=p) for n, (t, p) in enumerate(running)))
    requests = [
        make_request(f"w{n}", arrival_s=float(n), tpot_s=t, prompt=p, predicted=o)
        for n, (t, p, o) in enumerate(waiting)
    ]
    line = Line(lambda request: (request.arrival_s,), LATENCY)
    for request in requests:
        line.add(request)

    expected, now = [], mix
    for request in requests:
        if guard.admits(now, request):
            expected.append(request)
            now = now.with_(request)

    assert list(guard.admissible(mix, line)) == expected


def steps_joined(guard: TpotGuard, requests, steps: int) -> dict[str, int]:
    joined = dict.fromkeys((request.request_id for request in requests), 0)
    for _ in range(steps):
        for request in guard.take_part(requests):
            joined[request.request_id] += 1
    return joined


@pytest.mark.parametrize("bypass", [False, True])
@given(tpots_ms=st.lists(st.sampled_from([20, 30, 40, 50, 80, 200]), min_size=1, max_size=10))
def test_credits_conserve_every_share(bypass: bool, tpots_ms: list[int]) -> None:
    guard = TpotGuard(LATENCY, bypass=bypass)
    requests = [make_request(str(n), tpot_s=t / 1000) for n, t in enumerate(tpots_ms)]
    for request in requests:
        guard.started(request)

    joined = steps_joined(guard, requests, 60)

    for request, tpot_ms in zip(requests, tpots_ms, strict=True):
        share = Fraction(min(tpots_ms), tpot_ms)
        assert abs(joined[request.request_id] - 60 * share) <= 1
        if tpot_ms == min(tpots_ms):
            assert joined[request.request_id] == 60


def test_credit_starts_empty_and_is_forgotten() -> None:
    guard = TpotGuard(LATENCY)
    tight, loose = make_request("tight", tpot_s=0.03), make_request("loose", tpot_s=0.05)
    guard.started(tight)
    guard.started(loose)

    pattern = [[r.request_id for r in guard.take_part([tight, loose])] for _ in range(5)]

    assert pattern == [["tight"], ["tight", "loose"], ["tight"], ["tight", "loose"],
                       ["tight", "loose"]]  # fmt: skip
    guard.ended(tight)
    guard.ended(loose)
    assert guard.mix(0) == Mix()
