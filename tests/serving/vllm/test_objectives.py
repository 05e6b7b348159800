"""Objectives in ``vllm_xargs``."""

import pytest

from serving.sched.request import Slo
from serving.vllm.objectives import BadObjective, as_xargs, objectives_in


def test_there_and_back() -> None:
    slo = Slo(ttft_s=0.5, tpot_s=0.03)

    assert objectives_in(as_xargs(slo)) == slo
    assert objectives_in(None) == objectives_in({}) == Slo()
    assert objectives_in({"slo_ttft_ms": "250", "other": []}) == Slo(ttft_s=0.25)


@pytest.mark.parametrize("value", [0, -1, "soon", "nan", float("inf"), [3]])
def test_no_objective(value: object) -> None:
    with pytest.raises(BadObjective):
        objectives_in({"slo_tpot_ms": value})
