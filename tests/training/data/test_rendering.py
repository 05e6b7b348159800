"""Only answers are learnt, whatever the template; what cannot be told apart is refused."""

import json

import pytest
from transformers import PreTrainedTokenizerBase

from chat.renderer import shared_renderer
from tests.fixtures.tiny_models import byte_tokenizer
from training.data.dataset import load_dataset
from training.data.errors import BadData
from training.data.records import Example
from training.data.rendering import DEFAULT_TEMPLATE, Renderer, Unrenderable

CHAT = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "hé?"},
    {"role": "assistant", "content": "oui"},
    {"role": "user", "content": "und?"},
    {"role": "assistant", "content": "nein"},
]
LEARNT = [False, False, True, False, True]
FORGETFUL = (
    "{% for m in messages %}<{{ m.role }}>"
    "{{ m.content if loop.last or m.role != 'assistant' else m.content[:2] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
HOSTILE = "{{ 'x' * 10 ** 9 }}"
STRICT = "{{ raise_exception('no system') if messages[0].role == 'system' }}" + DEFAULT_TEMPLATE


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerBase:
    return byte_tokenizer()


def learnt(renderer: Renderer, example: Example, max_tokens: int = 1000) -> str:
    sample, _ = renderer.sample(example, max_tokens)
    return renderer.tokenizer.decode(sample.tokens[sample.is_target])


def test_answers_with_their_ends_are_learnt(tokenizer) -> None:
    example = Example(1, messages=CHAT, learnt=LEARNT)
    assert learnt(Renderer(tokenizer), example) == "oui\nnein\n"
    chatml = Renderer(tokenizer, DEFAULT_TEMPLATE)
    assert learnt(chatml, example) == "oui<|im_end|>\nnein<|im_end|>\n"
    assert chatml.is_default
    last = Example(1, messages=CHAT, learnt=[False] * 4 + [True])
    assert learnt(chatml, last) == "nein<|im_end|>\n"


def test_the_whole_is_what_the_template_renders(tokenizer) -> None:
    renderer = Renderer(tokenizer)
    sample, cut = renderer.sample(Example(1, messages=CHAT, learnt=LEARNT), 1000)
    whole = tokenizer.apply_chat_template(CHAT, tokenize=False)
    assert tokenizer.decode(sample.tokens) == whole
    assert cut == 0


def test_completions_and_texts_end_with_the_end(tokenizer) -> None:
    renderer = Renderer(tokenizer)
    assert learnt(renderer, Example(1, prompt="2+2=", completion="4")) == "4</s>"
    sample, _ = renderer.sample(Example(1, completion="all"), 100)
    assert tokenizer.decode(sample.tokens[1:][sample.is_target[1:]]).endswith("ll</s>")


def test_what_is_too_long_is_cut_and_counted(tokenizer) -> None:
    renderer = Renderer(tokenizer)
    sample, cut = renderer.sample(Example(1, prompt="12345", completion="6789"), 7)
    assert (len(sample), cut) == (7, 3)
    with pytest.raises(Unrenderable, match=r"line 4: .*first 5 of 10 tokens; raise max_seq_len"):
        renderer.sample(Example(4, prompt="12345", completion="6789"), 5)


def test_templates_that_rewrite_earlier_turns_are_refused_with_the_turn(tokenizer) -> None:
    renderer = Renderer(tokenizer, FORGETFUL)
    with pytest.raises(Unrenderable, match=r"line 3, messages\[2\]: .*weight 0"):
        renderer.sample(Example(3, messages=CHAT, learnt=LEARNT), 1000)
    only_last = Example(3, messages=CHAT, learnt=[False] * 4 + [True])
    assert learnt(renderer, only_last) == "nein\n"


def test_what_a_template_refuses_is_told(tokenizer) -> None:
    with pytest.raises(Unrenderable, match=r"line 9, messages: .*no system"):
        Renderer(tokenizer, STRICT).sample(Example(9, messages=CHAT, learnt=LEARNT), 1000)


def test_a_template_that_takes_too_much_is_told_and_not_tried_again(tokenizer, tmp_path) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text((json.dumps({"messages": CHAT}) + "\n") * 9)
    shared_renderer().start()
    before = shared_renderer().starts
    with pytest.raises(BadData, match=r"line 1, messages: .*templates\.memory_nbytes") as caught:
        load_dataset(file, Renderer(tokenizer, HOSTILE), 1000, tmp_path / "cache")
    assert len(caught.value.faults) == 1
    assert shared_renderer().starts == before + 1
