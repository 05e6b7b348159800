"""`vllm serve` with our flags, asked by OpenAI's client."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from tests.fixtures.vllm import SCORPIO, environment, metric, vllm_serve
from tests.serving.vllm.conftest import VllmHub

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(1200)]

MODEL = "hub://alice/tuned"
FAST = {"d": 1e-3, "phi": 1e-3, "alpha": 1e-6, "beta": 1e-3}
HOPELESS = {"x-slo-ttft-ms": "0.001"}


@dataclass
class Serving:
    url: str
    client: openai.OpenAI

    def ask(self, prompt: str = "hello", **more: object) -> openai.types.Completion:
        given = {"model": MODEL, "prompt": prompt, "max_tokens": 8, "temperature": 0}
        return self.client.completions.create(**given | more)


@pytest.fixture(scope="module")
def serving(vllm_hub: VllmHub) -> Iterator[Serving]:
    latency = dict.fromkeys(("a", "b", "c", "d", "theta", "phi", "alpha", "beta"), 0) | FAST
    arguments = [
        *("--load-format", "clade", "--scheduler-cls", SCORPIO),
        *("--middleware", "serving.vllm.SloMiddleware"),
        *("--additional-config", json.dumps({"clade": {"latency": latency}})),
    ]
    with (
        vllm_serve(MODEL, vllm_hub.env, vllm_hub.home, *arguments) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        yield Serving(url, client)


def test_models_and_answers(serving: Serving) -> None:
    assert [model.id for model in serving.client.models.list()] == [MODEL]
    on = {"extra_body": {"ignore_eos": True}}
    whole = serving.ask(**on, extra_headers={"x-llm-d-slo-ttft-ms": "600000"})
    streamed = "".join(chunk.choices[0].text for chunk in serving.ask(**on, stream=True))
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 8
    assert whole.choices[0].text == streamed


def test_chat(serving: Serving) -> None:
    said = [{"role": "user", "content": "Hi"}]
    asked = {"model": MODEL, "messages": said, "max_tokens": 5, "temperature": 0}
    on = {"extra_body": {"ignore_eos": True}}
    whole = serving.client.chat.completions.create(**asked, **on)
    stream = serving.client.chat.completions.create(**asked, **on, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 5
    assert whole.choices[0].message.content == text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 2])
def test_a_refusal_is_429(serving: Serving, stream: bool, n: int) -> None:
    with pytest.raises(openai.RateLimitError) as refused:
        serving.ask(stream=stream, n=n, temperature=1, extra_headers=HOPELESS)

    assert refused.value.code == "ttft_unattainable"
    headers = refused.value.response.headers
    assert headers["x-llm-d-request-dropped-reason"] == "rejected-ttft_unattainable"

    with pytest.raises(openai.RateLimitError):
        serving.client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Hi"}],
            stream=stream,
            n=n,
            extra_headers=HOPELESS,
        )


def test_a_refused_stream_may_want_log_probabilities(serving: Serving) -> None:
    with pytest.raises(openai.RateLimitError):
        serving.ask(stream=True, logprobs=2, extra_headers=HOPELESS)


def test_objectives_in_the_body(serving: Serving) -> None:
    with pytest.raises(openai.RateLimitError):
        serving.ask(extra_body={"vllm_xargs": {"slo_ttft_ms": 0.001}})
    assert serving.ask(extra_body={"vllm_xargs": {"slo_ttft_ms": 600_000}}).choices


@pytest.mark.parametrize(
    "wrong",
    [
        {"extra_headers": {"x-slo-ttft-ms": "soon"}},
        {"extra_headers": {"x-slo-tpot-ms": "-1"}},
        {"extra_body": {"vllm_xargs": {"slo_ttft_ms": "soon"}}},
    ],
)
def test_no_objective(serving: Serving, wrong: dict[str, object]) -> None:
    with pytest.raises(openai.BadRequestError, match="milliseconds"):
        serving.ask(**wrong)


def test_what_vllm_refuses_it_still_refuses(serving: Serving) -> None:
    asked = httpx.post(
        f"{serving.url}/v1/completions", content=b"{", headers={"x-slo-ttft-ms": "9"}, timeout=60
    )
    assert asked.status_code in {400, 422}
    with pytest.raises(openai.NotFoundError):
        serving.client.completions.create(model="none", prompt="x", extra_headers=HOPELESS)


def test_structured_output_waits_for_its_grammar(serving: Serving) -> None:
    said = serving.ask(max_tokens=30, extra_body={"structured_outputs": {"choice": ["yes", "no"]}})
    assert said.choices[0].text in {"yes", "no"}


def test_nothing_is_left(serving: Serving) -> None:
    """After all of the above, and a client that went away in the middle."""
    with serving.ask(stream=True, max_tokens=200, extra_body={"ignore_eos": True}) as stream:
        next(iter(stream))
    for _ in range(200):
        if metric(serving.url, "vllm:num_requests_running") == 0:
            break
        time.sleep(0.1)
    assert metric(serving.url, "vllm:num_requests_waiting") == 0
    assert metric(serving.url, "vllm:kv_cache_usage_perc") == 0
    assert serving.ask().choices


def test_without_the_middleware_a_refusal_says_why(vllm_hub: VllmHub, tmp_path: Path) -> None:
    """vLLM as far as it lets a scheduler say no; and the hub as a Hub, without `hub://`."""
    env = environment(vllm_hub.url, tmp_path, HF_HUB_DISABLE_XET="1")
    arguments = ["--load-format", "clade", "--scheduler-cls", SCORPIO]
    with (
        vllm_serve("alice/tuned", env, tmp_path, *arguments) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client,
    ):
        asked = {"model": "alice/tuned", "prompt": "hello", "max_tokens": 4}
        hopeless = {"extra_body": {"vllm_xargs": {"slo_ttft_ms": 1e-6}}}
        whole = client.completions.create(**asked, **hopeless).choices[0]
        pieces = [chunk.choices[0] for chunk in client.completions.create(
            **asked, **hopeless, stream=True)]  # fmt: skip
        assert client.completions.create(**asked).choices[0].finish_reason in {"stop", "length"}

    for said in (whole, pieces[-1]):
        assert said.text == ""
        assert said.finish_reason == "abort"
        assert said.stop_reason.startswith("rejected: ttft_unattainable")
