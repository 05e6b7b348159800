"""Tags and facts out of cards, configurations and file names, sound or not."""

import pytest

from app.catalog.tags import MOST_TAGS, TAG_LENGTH, CardFacts, Readme, describe, parse_readme
from app.formats.model_card import ModelConfig, parse_model_config


def card(head: str) -> Readme:
    return parse_readme(f"---\n{head}\n---\n# Title\n".encode())


def test_files_imply_formats_wherever_they_lie():
    paths = ["a/model.safetensors", "pytorch_model-1.bin", "x.bin", "onnx/model.onnx", "q4.gguf"]
    facts = describe("model", paths, Readme(), ModelConfig())
    assert facts.tags == ("safetensors", "gguf", "onnx", "pytorch")
    assert (facts.library_name, facts.card_data, facts.config) == (None, None, None)


def test_the_card_goes_before_the_configuration():
    config = parse_model_config(b'{"model_type": "bert", "architectures": ["BertModel"]}')
    facts = describe("model", [], card("library_name: peft\nlanguage: de"), config)
    assert facts.library_name == "peft"
    assert facts.tags == ("peft", "bert", "de")
    assert describe("model", [], Readme(), config).library_name == "transformers"


def test_datasets_have_tags_of_their_own_keys():
    head = "language:\n- en\n- 3\ntask_ids: x\nsdk: gradio\npipeline_tag: y"
    facts = describe("dataset", ["data/a.parquet"], card(head), ModelConfig())
    assert facts.tags == ("task_ids:x", "language:en", "format:parquet")
    assert facts.pipeline_tag is None
    assert describe("space", [], card("sdk: gradio"), ModelConfig()).tags == ("gradio",)


@pytest.mark.parametrize(
    "head",
    ["tags: {a: b}", "language: [[en]]", "datasets:\n- 7", "license: [mit]", "- just a list",
     "a: &x [1]\nb: *x", "tags:\n- ''\n- \"a\\u0000b\"", "base_model: 'not an id!'", ":::"],
)  # fmt: skip
def test_odd_heads_say_nothing(head: str):
    facts = describe("model", [], card(head), ModelConfig())
    assert set(facts.tags) <= {"mit", "license:mit"}


def test_what_is_said_too_often_or_too_long_is_left_out():
    names = "\n".join(f"- d{number}" for number in range(2 * MOST_TAGS))
    facts = describe("model", [], card(f"datasets:\n{names}"), ModelConfig())
    assert len(facts.tags) == MOST_TAGS
    long = card(f"language: {'x' * (TAG_LENGTH + 1)}")
    assert describe("model", [], long, ModelConfig()) == CardFacts(card_data=long.data)
