"""``--additional-config``."""

from pathlib import Path

import pytest

from serving.sched.calibrate import TYPICAL
from serving.vllm.options import BadOptions, SchedulingOptions

COEFFICIENTS = {name: getattr(TYPICAL, name) for name in TYPICAL.__slots__}


def test_all_there_is() -> None:
    given = {
        "policy": "edf",
        "max_num_waiting": 3,
        "latency": COEFFICIENTS,
        "cache": "/tmp/x",
    }

    options = SchedulingOptions.of({"clade": given, "of_others": 1})

    assert options == SchedulingOptions("edf", 3, TYPICAL, Path("/tmp/x"))
    assert SchedulingOptions.of({}) == SchedulingOptions()


@pytest.mark.parametrize(
    "given",
    [{"polcy": "edf"}, "edf", {"latency": {"a": 1}}, {"latency": 3}, {"max_num_waiting": -1},
     {"max_num_waiting": "many"}, {"cache": 3}],
)  # fmt: skip
def test_what_cannot_be(given: object) -> None:
    with pytest.raises(BadOptions, match="clade"):
        SchedulingOptions.of({"clade": given})
