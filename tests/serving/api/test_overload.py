"""Refusals, objectives, vanishing clients and dying engines: clear answers, nothing left behind."""

import json
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from serving.api import stream
from serving.engine.sequence import Request
from serving.sched.decision import Decision, Reason, Rejection
from serving.sched.engine import EngineView
from tests.fixtures.engines import Scripted, flat_latency
from tests.fixtures.inference import NAME, Inference, service_of, serving

ASKED = {"model": NAME, "prompt": "hello", "max_tokens": 200, "ignore_eos": True}


def test_objectives_are_measured_and_told(inference: Inference) -> None:
    headers = {"x-llm-d-slo-ttft-ms": "60000", "x-slo-tpot-ms": "60000", "x-slo-ttft-ms": "0.001"}
    done = httpx.post(
        f"{inference.url}/v1/completions", json=ASKED | {"max_tokens": 5}, headers=headers
    )

    usage = done.json()["usage"]["clade"]
    assert usage["slo_met"] is True, "llm-d's spelling wins"
    assert float(done.headers["x-clade-ttft-ms"]) == pytest.approx(usage["ttft_ms"])
    assert float(done.headers["x-clade-tpot-ms"]) == pytest.approx(usage["tpot_ms"])


def test_objectives_in_the_body_and_in_streams(inference: Inference) -> None:
    asked = ASKED | {"max_tokens": 4, "stream": True, "slo": {"ttft_ms": 1e-6}}
    asked["stream_options"] = {"include_usage": True}
    with httpx.stream("POST", f"{inference.url}/v1/completions", json=asked) as answer:
        assert float(answer.headers["x-clade-ttft-ms"]) > 0
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert json.loads(lines[-2][6:])["usage"]["clade"]["slo_met"] is False


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", "0"])
def test_objectives_that_are_none(inference: Inference, value: str) -> None:
    answer = httpx.post(
        f"{inference.url}/v1/completions", json=ASKED, headers={"x-slo-ttft-ms": value}
    )
    assert answer.status_code == 400
    assert "x-slo-ttft-ms" in answer.json()["error"]["message"]


@pytest.mark.parametrize("streamed", [False, True])
def test_refusal_is_429_with_reason_and_time(streamed: bool) -> None:
    def script(policy: Scripted, _: EngineView) -> Decision:
        rejected, policy.waiting = policy.waiting, []
        return Decision(reject=[Rejection(each, Reason.TTFT, 2.2) for each in rejected])

    service = service_of()
    service.engine.policy = Scripted(script=script)
    with serving(service) as running:
        with pytest.raises(openai.RateLimitError) as caught:
            running.client().completions.create(
                model=NAME, prompt="hi", stream=streamed, extra_headers={"x-slo-ttft-ms": "5"}
            )
        response = caught.value.response
        assert response.headers["retry-after"] == "3"
        assert response.headers["retry-after-ms"] == "2200"
        assert response.headers["x-llm-d-request-dropped-reason"] == "rejected-ttft_unattainable"
        assert caught.value.body["code"] == "ttft_unattainable"
        assert running.settled()
        metrics = httpx.get(f"{running.url}/metrics").text
    assert 'clade:requests_refused_total{model_name="alice/tiny",reason="ttft_un' in metrics


@pytest.mark.parametrize("policy", ["scorpio", "scorpio-plus", "mooncake"])
def test_policies_refuse_what_cannot_be_met_and_answer_the_rest(policy: str) -> None:
    with serving(service_of(policy=policy, latency=flat_latency(0.05))) as running:
        client = running.client()

        def ask(ttft_ms: float) -> object:
            return client.completions.create(
                model=NAME,
                prompt="hello",
                max_tokens=4,
                extra_headers={"x-llm-d-slo-ttft-ms": str(ttft_ms)},
            )

        with pytest.raises(openai.RateLimitError) as caught:
            ask(0.5)
        assert caught.value.body["code"] == "ttft_unattainable"
        assert caught.value.response.headers["retry-after"] == "60"
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert ask(60_000).choices
        assert running.settled()


def test_full_queue_is_refused_at_once_and_the_rest_is_answered() -> None:
    service = service_of(max_num_seqs=2, max_num_waiting=3)
    go_on, submit, arrived = threading.Event(), service._submit, threading.Semaphore(0)

    def counted(request: Request) -> None:
        submit(request)
        arrived.release()

    service._submit = counted
    with serving(service) as running:
        held = running.service.loop.call(lambda _engine: go_on.wait(60))
        client = running.client()

        def ask(_: int) -> str:
            try:
                client.completions.create(
                    model=NAME, prompt="hi", max_tokens=30, extra_body={"ignore_eos": True}
                )
            except openai.RateLimitError as error:
                return str(error.body["code"])
            return "answered"

        with ThreadPoolExecutor(12) as pool:
            outcomes = pool.map(ask, range(12))
            for _ in range(12):
                assert arrived.acquire(timeout=60)
            go_on.set()
            assert held.result(60), "the engine stood still until all twelve had come"
            assert Counter(outcomes) == {"answered": 3, "queue_full": 9}
        assert running.settled()


def test_global_limit_counts_choices() -> None:
    with serving(service_of(most_requests=3)) as running:
        client = running.client()
        with pytest.raises(openai.RateLimitError):
            client.completions.create(model=NAME, prompt="hi", n=4)
        assert len(client.completions.create(model=NAME, prompt="hi", n=3).choices) == 3


@pytest.mark.parametrize("streamed", [False, True])
def test_a_client_that_vanishes_frees_everything(inference: Inference, streamed: bool) -> None:
    host, port = inference.url.removeprefix("http://").split(":")
    steps = inference.engine.num_steps
    body = json.dumps(ASKED | {"stream": streamed}).encode()
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        while inference.engine.num_steps < steps + 3:
            time.sleep(0.001)
    assert inference.settled()
    aborted = httpx.get(f"{inference.url}/metrics").text
    assert 'finished_reason="abort"' in aborted


def test_a_reader_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "READER_S", 0.2)
    padded = "x" * 4000
    monkeypatch.setattr(stream, "sse", lambda payload: b"data: " + padded.encode() + b"\n\n")
    from serving.api import answering

    monkeypatch.setattr(answering, "sse", stream.sse)
    with serving(service_of()) as running:
        host, port = running.url.removeprefix("http://").split(":")
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect((host, int(port)))
        body = json.dumps(ASKED | {"stream": True, "n": 8}).encode()
        connection.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        while not running.service.num_open:
            time.sleep(0.001)
        assert running.settled()
        connection.close()


def test_a_step_that_fails_ends_its_requests_and_others_go_on() -> None:
    service = service_of()
    with serving(service) as running:
        client = running.client()
        whole = service.engine.runner.run

        def broken(parts):
            if len(service.engine.runner.calls) == 3:
                service.engine.runner.run = whole
                raise RuntimeError("a secret detail")
            service.engine.runner.calls.append(1)
            return whole(parts)

        service.engine.runner.calls = []
        service.engine.runner.run = broken
        events = client.completions.create(**ASKED_BY_CLIENT, stream=True)
        with pytest.raises(openai.APIError) as caught:
            list(events)
        assert "secret" not in str(caught.value)
        assert running.settled()
        assert client.completions.create(model=NAME, prompt="hi").choices
        assert httpx.get(f"{running.url}/health").status_code == 200


def test_an_engine_that_dies_says_so() -> None:
    service = service_of()
    with serving(service) as running:
        client = running.client()

        def dead(_parts):
            raise RuntimeError("gone")

        service.engine.runner.run = dead
        for _ in range(3):
            with pytest.raises(openai.InternalServerError):
                client.completions.create(model=NAME, prompt="hi")
        with pytest.raises(openai.InternalServerError) as caught:
            client.completions.create(model=NAME, prompt="hi")
        assert caught.value.status_code == 503
        assert httpx.get(f"{running.url}/health").status_code == 503
        assert running.settled()


def test_key() -> None:
    with serving(service_of(api_key="sesame")) as running:
        with pytest.raises(openai.AuthenticationError):
            running.client().completions.create(model=NAME, prompt="hi")
        right = running.client(api_key="sesame")
        assert right.completions.create(model=NAME, prompt="hi").choices
        assert httpx.get(f"{running.url}/metrics").status_code == 401
        assert httpx.get(f"{running.url}/health").status_code == 200


def test_metrics_have_vllms_names(inference: Inference) -> None:
    inference.client().completions.create(model=NAME, prompt="hello", max_tokens=3)
    text = httpx.get(f"{inference.url}/metrics").text
    for name in (
        "num_requests_running",
        "num_requests_waiting",
        "kv_cache_usage_perc",
        "num_preemptions_total",
        "prompt_tokens_total",
        "generation_tokens_total",
        "prefix_cache_queries_total",
        "prefix_cache_hits_total",
        "request_success_total",
        "time_to_first_token_seconds_bucket",
        "inter_token_latency_seconds_bucket",
        "request_time_per_output_token_seconds_bucket",
        "e2e_request_latency_seconds_bucket",
    ):
        assert f'vllm:{name}{{model_name="alice/tiny"' in text or f"vllm:{name}{{" in text, name


ASKED_BY_CLIENT = {
    "model": NAME,
    "prompt": "hello",
    "max_tokens": 200,
    "extra_body": {"ignore_eos": True},
}
