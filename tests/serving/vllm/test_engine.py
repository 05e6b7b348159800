"""vLLM's engine with our loader and our scheduler, counted in steps and in the order of ends."""

from dataclasses import asdict, replace

import pytest

from serving.sched.calibrate import UNKNOWN
from tests.fixtures.tiny_models import prompts_of
from tests.fixtures.vllm import SCORPIO, Answered, Ask, Run, run_engines
from tests.serving.vllm.conftest import VllmHub

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]

HUB = "hub://alice/tuned"
PROMPTS = prompts_of((5, 40, 17, 90, 1, 33))
SECOND = 1_000_000
"""A long second: objectives here are about order, not about this machine."""

POLICIES = ("fcfs", "edf", "scorpio", "scorpio-plus")
"""Prompts before decodes and beside them; with and without steps that some skip."""

TIGHT = {"max_num_seqs": 4, "max_num_batched_tokens": 24, "num_gpu_blocks_override": 9}
"""Prompts in chunks, and KV blocks for half of what is asked."""


def scorpio(policy: str, **options: object) -> dict[str, object]:
    """Our scheduler, on an engine that is known to be fast: nobody is refused for its speed."""
    own = {"policy": policy, "latency": asdict(UNKNOWN)}
    return {"scheduler_cls": SCORPIO, "additional_config": {"clade": own}, **options}


def all_at_once(**xargs: object) -> list[Ask]:
    return [Ask(str(number), prompt, 40, xargs) for number, prompt in enumerate(PROMPTS)]


@pytest.fixture(scope="module")
def from_disk(vllm_hub: VllmHub) -> Answered:
    """vLLM as it is, with safetensors on disk."""
    options = {"skip_tokenizer_init": True}
    return run_engines([Run(str(vllm_hub.local), all_at_once(), options)], vllm_hub.env)[0]


def test_tokens_are_those_of_vllm_with_weights_on_disk(
    vllm_hub: VllmHub, from_disk: Answered
) -> None:
    """Under each policy, in chunks, with preemption and with steps that some skip."""
    apart = [
        replace(ask, xargs={"slo_tpot_ms": SECOND * (1 + number % 3)})
        for number, ask in enumerate(all_at_once())
    ]
    runs = [
        Run(HUB, all_at_once()),
        *(Run(HUB, apart, scorpio(policy, **TIGHT)) for policy in POLICIES),
        Run(HUB, apart, scorpio("scorpio", async_scheduling=False, **TIGHT)),
    ]

    for run, answered in zip(runs, run_engines(runs, vllm_hub.env), strict=True):
        assert answered.error == "", run
        assert answered.tokens == from_disk.tokens, run
        assert (answered.held, answered.known) == (0, 0), run


def test_order_refusals_and_cancellation(vllm_hub: VllmHub) -> None:
    one_by_one = {"max_num_seqs": 1}
    due = {"last": 900, "third": 700, "second": 500, "first": 300}
    deadlines = [Ask(name, PROMPTS[0], 4, {"slo_ttft_ms": SECOND * s}) for name, s in due.items()]
    hopeless = Ask("hopeless", PROMPTS[1], 4, {"slo_ttft_ms": 1e-6})
    bad = Ask("bad", PROMPTS[1], 4, {"slo_tpot_ms": "soon"})
    gone = Ask("gone", PROMPTS[3], 100, gone=5)
    never = Ask("never", PROMPTS[3], 100, step=4, gone=6)
    loose = Ask("loose", PROMPTS[0], 30, {"slo_tpot_ms": 8 * SECOND})
    tight = Ask("tight", PROMPTS[0], 30, {"slo_tpot_ms": SECOND})
    ordered, by_arrival, mixed, skipping, oracle, speculative = run_engines(
        [
            Run(HUB, deadlines, scorpio("scorpio", **one_by_one)),
            Run(HUB, deadlines, one_by_one),
            Run(HUB, [hopeless, bad, gone, never, deadlines[0]], scorpio("scorpio-plus")),
            Run(HUB, [loose, tight], scorpio("scorpio")),
            Run(HUB, [], scorpio("sjf-oracle")),
            Run(HUB, [], scorpio("edf", speculative_config=SPECULATIVE)),
        ],
        vllm_hub.env,
    )

    assert by_arrival.order == ["last", "third", "second", "first"]
    assert ordered.order == ["first", "second", "third", "last"]
    assert ordered.tokens == by_arrival.tokens

    assert mixed.reasons["hopeless"] == ["abort", "rejected: ttft_unattainable"]
    assert mixed.reasons["bad"] == ["abort", "rejected: bad_objective"]
    assert mixed.reasons["last"] == ["length", None]
    assert (mixed.held, mixed.known) == (0, 0)

    assert skipping.order == ["tight", "loose"]
    assert skipping.tokens["tight"] == skipping.tokens["loose"]
    # Its credit grows by an eighth as long as the other runs: it has 4 of 30 tokens by then.
    assert 50 <= skipping.steps <= 60

    assert "sjf goes by predictions" in oracle.error
    assert "speculative decoding" in speculative.error


SPECULATIVE = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 2}
