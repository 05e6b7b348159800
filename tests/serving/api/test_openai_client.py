"""What OpenAI's own client gets."""

import math

import httpx
import openai
import pytest
import torch

from tests.fixtures.inference import NAME, VOCABULARY, Inference
from tests.fixtures.tiny_models import byte_tokenizer, generated, tiny_model

PROMPT = "The quick brown fox"


@pytest.fixture(scope="module")
def client(inference: Inference) -> openai.OpenAI:
    return inference.client()


def greedy_text(prompt: str, count: int) -> str:
    tokenizer = byte_tokenizer()
    model = tiny_model(vocab_size=VOCABULARY)
    [answer] = generated(model, [tokenizer(prompt)["input_ids"]], count)
    return tokenizer.decode(answer, skip_special_tokens=True)


def test_completion_is_what_generate_says(client: openai.OpenAI) -> None:
    done = client.completions.create(model=NAME, prompt=PROMPT, max_tokens=12, temperature=0)

    assert done.choices[0].text == greedy_text(PROMPT, 12)
    assert done.choices[0].finish_reason in {"length", "stop"}
    assert done.object == "text_completion"
    assert done.usage.prompt_tokens == len(PROMPT)
    assert done.usage.total_tokens == len(PROMPT) + done.usage.completion_tokens
    assert done.usage.clade["ttft_ms"] > 0


def test_stream_joins_to_the_whole(client: openai.OpenAI) -> None:
    asked = {"model": NAME, "prompt": [PROMPT, "Another"], "max_tokens": 10, "temperature": 0}
    whole = client.completions.create(**asked)

    chunks = list(
        client.completions.create(**asked, stream=True, stream_options={"include_usage": True})
    )

    texts = ["", ""]
    for chunk in chunks:
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert texts == [choice.text for choice in whole.choices]
    assert chunks[-1].usage.total_tokens == whole.usage.total_tokens
    assert chunks[-1].choices == []
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_chat_uses_the_template(client: openai.OpenAI) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    done = client.chat.completions.create(
        model=NAME, messages=messages, max_completion_tokens=9, temperature=0
    )

    expected = greedy_text("<system>Be brief.\n<user>Hi\n<assistant>", 9)
    assert done.choices[0].message.content == expected
    assert done.choices[0].message.role == "assistant"


def test_chat_stream(client: openai.OpenAI) -> None:
    asked = {
        "model": NAME,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "seed": 4,
        "n": 2,
    }
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True))

    texts, ends = ["", ""], {}
    assert chunks[0].choices[0].delta.role == "assistant"
    for chunk in chunks:
        [choice] = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        if choice.finish_reason:
            ends[choice.index] = choice.finish_reason
    assert texts == [choice.message.content for choice in whole.choices]
    assert texts[0] != texts[1]
    assert set(ends) == {0, 1}


def test_seed_repeats_and_other_seeds_do_not(client: openai.OpenAI) -> None:
    def text(seed: int | None) -> str:
        done = client.completions.create(
            model=NAME, prompt=PROMPT, max_tokens=24, temperature=1.2, seed=seed
        )
        return done.choices[0].text

    assert text(7) == text(7)
    assert text(8) != text(7)
    assert text(None) != text(None)


def test_stop_strings_and_tokens(client: openai.OpenAI) -> None:
    text = greedy_text(PROMPT, 24)
    stop = text[6:8]
    asked = {"model": NAME, "prompt": PROMPT, "max_tokens": 24, "temperature": 0}

    done = client.completions.create(**asked, stop=[stop, "never"])
    token = byte_tokenizer()(text[5])["input_ids"][0]
    by_token = client.completions.create(**asked, extra_body={"stop_token_ids": [token]})

    assert done.choices[0].text == text[: text.index(stop)]
    assert done.choices[0].finish_reason == "stop"
    assert done.choices[0].stop_reason == stop
    assert by_token.choices[0].text == text[: text.index(text[5])]
    assert by_token.choices[0].stop_reason == token


def test_logprobs_of_both_endpoints(client: openai.OpenAI) -> None:
    done = client.completions.create(
        model=NAME, prompt=PROMPT, max_tokens=5, temperature=0, logprobs=3
    )
    told = done.choices[0].logprobs
    tokenizer = byte_tokenizer()
    model = tiny_model(vocab_size=VOCABULARY)
    with torch.inference_mode():
        logits = model(torch.tensor([tokenizer(PROMPT)["input_ids"]])).logits[0, -1]
    own = torch.log_softmax(logits, -1).max().item()
    assert told.token_logprobs[0] == pytest.approx(own, abs=1e-4)
    assert all(len(top) == 3 for top in told.top_logprobs)
    assert told.text_offset[0] == 0

    chat = client.chat.completions.create(
        model=NAME,
        messages=[{"role": "user", "content": "Hi"}],
        max_tokens=5,
        logprobs=True,
        top_logprobs=2,
        stream=True,
    )
    tokens = [each for chunk in chat for each in _content(chunk)]
    assert len(tokens) == 5
    for token in tokens:
        assert len(token.top_logprobs) == 2
        assert math.exp(token.logprob) <= math.exp(token.top_logprobs[0].logprob) + 1e-6
        assert bytes(token.bytes).decode() == token.token


def _content(chunk):
    logprobs = chunk.choices[0].logprobs
    return logprobs.content if logprobs else []


def test_echo_and_token_ids(client: openai.OpenAI) -> None:
    ids = byte_tokenizer()(PROMPT)["input_ids"]
    done = client.completions.create(model=NAME, prompt=ids, max_tokens=4, temperature=0, echo=True)

    assert done.choices[0].text == PROMPT + greedy_text(PROMPT, 4)


def test_choices_of_a_prompt_compute_it_once_and_are_timed_together(inference: Inference) -> None:
    """Seeds of choices follow one another, so each is what it would be alone."""
    engine, client = inference.engine, inference.client()
    prompt = "Once upon a time there was a prompt that nobody had computed"
    asked = {"model": NAME, "prompt": prompt, "max_tokens": 9, "temperature": 1.0}
    looked_up, found = engine.num_looked_up_tokens, engine.num_found_tokens

    together = client.completions.create(
        **asked, n=4, seed=50, extra_headers={"x-slo-ttft-ms": "0.001"}
    )

    computed = (engine.num_looked_up_tokens - looked_up) - (engine.num_found_tokens - found)
    block = engine.runner.pool.block_size
    assert computed == len(prompt) + 3 * (len(prompt) - (len(prompt) - 1) // block * block)
    assert together.usage.prompt_tokens == len(prompt)
    assert together.usage.clade["slo_met"] is False
    alone = [client.completions.create(**asked, seed=50 + n).choices[0].text for n in range(4)]
    assert [choice.text for choice in together.choices] == alone
    assert len(set(alone)) > 1


@pytest.mark.parametrize("endpoint", ["completions", "chat"])
def test_who_has_another_salt_cannot_tell_what_was_asked(
    client: openai.OpenAI, endpoint: str
) -> None:
    said = f"Between us and nobody else, on {endpoint}: the launch is on Tuesday"

    def cached(salt: str | None) -> tuple[int, str]:
        asked = {"model": NAME, "max_tokens": 4, "temperature": 0}
        body = {} if salt is None else {"cache_salt": salt}
        if endpoint == "chat":
            messages = [{"role": "user", "content": said}]
            done = client.chat.completions.create(messages=messages, extra_body=body, **asked)
            text = done.choices[0].message.content
        else:
            done = client.completions.create(prompt=said, extra_body=body, **asked)
            text = done.choices[0].text
        return done.usage.prompt_tokens_details.cached_tokens, text

    first, answer = cached("ours")
    assert first < len(said) // 2, "at most what the template says before it"
    assert cached("ours")[0] > len(said) // 2
    assert cached("theirs") == (0, answer)
    assert cached(None)[0] < len(said) // 2


def test_models(client: openai.OpenAI) -> None:
    [model] = client.models.list()
    assert model.id == NAME
    assert client.models.retrieve(NAME).max_model_len == 256


BAD = {
    "unknown model": ({"model": "nobody/none"}, openai.NotFoundError, "model"),
    "temperature": ({"temperature": -1}, openai.BadRequestError, "temperature"),
    "top_p": ({"top_p": 0}, openai.BadRequestError, "top_p"),
    "max_tokens": ({"max_tokens": 0}, openai.BadRequestError, "max_tokens"),
    "n": ({"n": 1000}, openai.BadRequestError, "n"),
    "prompt type": ({"prompt": 7}, openai.BadRequestError, None),
    "empty prompt": ({"prompt": ""}, openai.BadRequestError, "prompt"),
    "no prompts": ({"prompt": []}, openai.BadRequestError, "prompt"),
    "token id": ({"prompt": [1, 100_000]}, openai.BadRequestError, "prompt"),
    "too long": ({"prompt": "a" * 300}, openai.BadRequestError, "prompt"),
    "too many": ({"max_tokens": 300}, openai.BadRequestError, "max_tokens"),
    "suffix": ({"suffix": "x"}, openai.BadRequestError, "suffix"),
    "empty salt": ({"extra_body": {"cache_salt": ""}}, openai.BadRequestError, "cache_salt"),
    "salt type": ({"extra_body": {"cache_salt": 7}}, openai.BadRequestError, "cache_salt"),
    "logit_bias": ({"logit_bias": {"a": 1}}, openai.BadRequestError, "logit_bias"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_have_openais_shape(client: openai.OpenAI, name: str) -> None:
    changed, kind, param = BAD[name]
    with pytest.raises(kind) as caught:
        client.completions.create(**{"model": NAME, "prompt": "hi", "max_tokens": 3} | changed)
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    if param is not None:
        assert caught.value.body["param"] == param


def test_routes_bodies_and_ids(inference: Inference) -> None:
    with httpx.Client(base_url=inference.url) as raw:
        assert raw.get("/health").json() == {"status": "ok"}
        nothing = raw.post("/v1/embeddings", json={}).json()["error"]
        assert nothing["type"] == "not_found_error"
        assert "POST /v1/embeddings is not served" in nothing["message"]
        assert "/v1/completions" in raw.get("/openapi.json").json()["paths"]
        assert raw.post("/v1/completions", content=b"{").status_code == 400
        long = raw.post("/v1/completions", content=b" " * ((8 << 20) + 1))
        assert long.status_code == 413
        undeclared = raw.post("/v1/completions", content=(b" " * (1 << 20) for _ in range(9)))
        assert undeclared.status_code == 413
        odd = raw.post("/v1/completions", content=b'{"model": "alice/tiny", "prompt": "\\ud800"}')
        assert odd.status_code == 400
        unknown = raw.post("/v1/completions", content=b'{"model": "\\ud800", "prompt": "a"}')
        assert unknown.status_code == 400
        given = raw.get("/health", headers={"x-request-id": "mine"})
        assert given.headers["x-request-id"] == "mine"


def test_nothing_is_left(inference: Inference) -> None:
    assert inference.settled()
