"""Refusals survive their way through vLLM, and its own reasons are left alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.sched.decision import Reason
from serving.vllm.refusal import BAD_OBJECTIVE, UNSERVED, Refusal

CODES = [*map(str, Reason), BAD_OBJECTIVE, UNSERVED]


@given(st.sampled_from(CODES), st.none() | st.floats(0, 1e6))
def test_there_and_back(code: str, retry_after_s: float | None) -> None:
    parsed = Refusal.parse(Refusal(code, retry_after_s).stop_reason)

    assert parsed is not None
    assert parsed.code == code
    assert parsed.retry_after_s == (
        None if retry_after_s is None else pytest.approx(retry_after_s, abs=1e-3)
    )


@pytest.mark.parametrize("other", [None, 151645, "</s>", "rejected", "rejected: a b"])
def test_other_stop_reasons(other: object) -> None:
    assert Refusal.parse(other) is None


@pytest.mark.parametrize(
    ("code", "status"),
    [(Reason.TTFT, 429), (Reason.TPOT, 429), (Reason.QUEUE, 429), (Reason.LENGTH, 400),
     (BAD_OBJECTIVE, 400), (UNSERVED, 400)],
)  # fmt: skip
def test_status(code: str, status: int) -> None:
    assert Refusal(str(code), 0.2).error.status == status
