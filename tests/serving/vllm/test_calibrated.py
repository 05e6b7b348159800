"""`vllm serve` that has measured its steps: what cannot be in time is refused, and only that."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from serving.sched.latency import FittedLatency
from tests.fixtures.vllm import SCORPIO, metric, vllm_serve
from tests.serving.vllm.conftest import VllmHub

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]

MODEL = "hub://alice/tuned"
PROMPT = "a" * 200
TOO_SOON_MS = 0.1
"""Nothing that runs vLLM computes 200 tokens within a tenth of a millisecond."""


@contextmanager
def serving(hub: VllmHub, cache: Path, policy: str) -> Iterator[tuple[openai.OpenAI, str]]:
    options = {"clade": {"policy": policy, "cache": str(cache)}}
    arguments = [
        *("--load-format", "clade", "--scheduler-cls", SCORPIO),
        *("--middleware", "serving.vllm.SloMiddleware"),
        *("--max-num-batched-tokens", "256", "--max-num-seqs", "4", "--no-enable-prefix-caching"),
        *("--additional-config", json.dumps(options)),
    ]
    with (
        vllm_serve(MODEL, hub.env, hub.home, *arguments) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield client, url


def ask(
    client: openai.OpenAI, ttft_ms: float | None = None, **more: object
) -> openai.types.Completion:
    headers = {} if ttft_ms is None else {"x-slo-ttft-ms": str(ttft_ms)}
    given = {"model": MODEL, "prompt": PROMPT, "max_tokens": 6, "temperature": 0}
    on = {"extra_body": {"ignore_eos": True}, "extra_headers": headers}
    return client.completions.create(**given | on | more)


def test_refusals_after_calibration(vllm_hub: VllmHub, tmp_path: Path) -> None:
    profiles = tmp_path / "serving" / "profiles"
    with serving(vllm_hub, tmp_path, "fcfs-reject") as (client, url):
        with pytest.raises(openai.RateLimitError) as unlucky:
            ask(client, TOO_SOON_MS)  # for what is known it had only been on its way for too long
        assert "x-should-retry" not in unlucky.value.response.headers
        assert not profiles.exists()
        for _ in range(200):
            if profiles.exists():
                break
            ask(client)
        [kept] = profiles.iterdir()
        alone_ms = 1e3 * FittedLatency(**json.loads(kept.read_text())).prefill_s(len(PROMPT))
        assert alone_ms > TOO_SOON_MS

        with pytest.raises(openai.RateLimitError) as hopeless:
            ask(client, TOO_SOON_MS)
        assert hopeless.value.code == "ttft_unattainable"
        assert hopeless.value.response.headers["x-should-retry"] == "false"
        assert ask(client, 600_000).choices[0].finish_reason == "length"

        burst = [PROMPT[:190] + str(number) for number in range(1_000, 1_300)]
        with ThreadPoolExecutor(1) as pool:
            answering = pool.submit(ask, client, prompt=burst, max_tokens=1)
            while metric(url, "vllm:num_requests_waiting") < 100:
                assert not answering.done(), "it was to be a long queue"
                time.sleep(0.01)
            with pytest.raises(openai.RateLimitError) as late:
                ask(client, 3 * alone_ms)
            assert ask(client, 600_000).choices[0].finish_reason == "length"
            served = answering.result()
        assert late.value.code == "ttft_unattainable"
        assert int(late.value.response.headers["retry-after"]) >= 1
        reason = late.value.response.headers["x-llm-d-request-dropped-reason"]
        assert reason == "rejected-ttft_unattainable"
        assert [choice.finish_reason for choice in served.choices] == ["length"] * len(burst)
        assert metric(url, "vllm:num_requests_waiting") == 0

    with serving(vllm_hub, tmp_path, "scorpio-plus") as (client, _):
        with pytest.raises(openai.RateLimitError, match="first token"):
            ask(client, TOO_SOON_MS)  # what was measured is kept
        assert ask(client, 600_000).choices[0].finish_reason == "length"
