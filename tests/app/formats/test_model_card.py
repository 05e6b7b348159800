"""What a README and a config say, and that neither can hurt."""

import random

import pytest

from app.formats.model_card import (
    CONFIG_NBYTES,
    HEAD_NBYTES,
    ModelCard,
    ModelConfig,
    load_card_data,
    parse_model_card,
    parse_model_config,
)


def card(head: str) -> ModelCard:
    return parse_model_card(f"---\n{head}\n---\n# Title\n".encode())


def test_all_declarations_are_read():
    assert card(
        "base_model:\n- org/base\n- gpt2\nbase_model_relation: merge\nlicense: apache-2.0\n"
        "tags: [a, b]\npipeline_tag: text-generation\nlibrary_name: transformers\nmetrics: {x: 1}"
    ) == ModelCard(
        base_models=("org/base", "gpt2"),
        base_model_relation="merge",
        license="apache-2.0",
        tags=("a", "b"),
        pipeline_tag="text-generation",
        library_name="transformers",
    )


def test_single_base_model_need_not_be_a_list():
    assert card("base_model: org/base").base_models == ("org/base",)


def test_values_are_text_and_nothing_else():
    assert card("license: no\ntags: [1, 2020-01-01, 0x1F]") == ModelCard(
        license="no", tags=("1", "2020-01-01", "0x1F")
    )
    assert card("license: null\nlibrary_name: ~\npipeline_tag:") == ModelCard()


def test_windows_line_ends_and_byte_order_mark_are_understood():
    readme = b"\xef\xbb\xbf---\r\nlicense: mit\r\n---\r\ntext"
    assert parse_model_card(readme).license == "mit"


@pytest.mark.parametrize(
    "head",
    [
        "base_model: ../etc/passwd/x",
        "base_model: {a: b}",
        "base_model: [[a/b]]",
        "base_model: 'a b/c'",
        "base_model: " + "a" * 200,
        "base_model_relation: stolen",
        "tags: {a: b}",
        "license: " + "x" * 200,
        'license: "a\\0b"',
        'license: "\\ud800"',
        "- a\n- b",
        "just text",
        "license: &x mit",
        "a: &a [x]\nb: *a\nlicense: mit",
        "a: " + "[" * 30 + "]" * 30 + "\nlicense: mit",
        "? [a]\n: b\nlicense: mit",
        "license: mit\n...\n%YAML 9.9",
        "license: 'mit",
        "a: !!python/object/apply:os.system [true]\nlicense: !!python/name:os.system",
    ],
)
def test_odd_declarations_are_left_out(head: str):
    assert card(head) in (ModelCard(), ModelCard(license="mit"))


def test_anchors_make_the_whole_head_void():
    assert card("license: mit\na: &a [x]\nb: *a") == ModelCard()


@pytest.mark.parametrize(
    "readme",
    [
        b"",
        b"# no head",
        b"---\nlicense: mit",
        b"---\nlicense: \xff\n---\n",
        b"---\n" + b"# comment\n" * HEAD_NBYTES + b"license: mit\n---\n",
    ],
)
def test_readme_without_a_sound_head_gives_an_empty_card(readme: bytes):
    assert parse_model_card(readme) == ModelCard()


def test_random_heads_never_raise():
    rng = random.Random(1)
    for _ in range(1_000):
        parse_model_card(
            b"---\n" + bytes(rng.choices(b"ab:-[]{}&*!?|>'\"%@ \n\t,#~<0", k=60)) + b"\n---\n"
        )


def test_config_gives_architecture_and_type():
    config = b'{"architectures":["LlamaForCausalLM"],"model_type":"llama","x":NaN}'
    assert parse_model_config(config) == ModelConfig(("LlamaForCausalLM",), "llama")


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"\xff",
        b"{",
        b'{"architectures":1,"model_type":[]}',
        b'{"architectures":null,"model_type":""}',
        b"[" * 100_000,
        b" " * CONFIG_NBYTES + b'{"model_type":"x"}',
        b'{"model_type":"\\ud800"}',
        b'{"x":' + b"9" * 5000 + b"}",
    ],
)
def test_odd_config_gives_nothing(config: bytes):
    assert parse_model_config(config) == ModelConfig()


def test_blank_lines_before_the_head_are_passed_over_as_the_clients_do():
    assert parse_model_card(b" \n\r\n---\nlicense: mit\n---\n").license == "mit"
    assert load_card_data(b"\n---\nmodel-index: x\n---\n") == {"model-index": "x"}
