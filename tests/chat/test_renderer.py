"""Templates render as transformers renders them, and hostile ones end at a bound."""

import os
import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from app.settings import Settings
from chat.bounds import Bounds
from chat.renderer import (
    ChatRenderer,
    TemplateRefused,
    TemplateTooCostly,
    render_chat,
    shared_renderer,
)
from tests.fixtures.tiny_models import byte_tokenizer

LLAMA = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = '26 Jul 2024' %}"
    "{%- endif %}{%- if messages[0]['role'] == 'system' %}"
    "{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}"
    "{%- else %}{%- set system_message = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\n' }}{{- 'Today: ' + date_string + '\n' }}"
    "{%- if tools %}{%- for t in tools %}{{- t | tojson(indent=4) }}{{- '\n\n' }}{%- endfor %}"
    "{%- endif %}{{- system_message }}{{- '<|eot_id|>' }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
    "message['content'] | trim + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{%- endif %}"
)
QWEN = (
    "{%- if tools %}\n    {{- '<|im_start|>system\\n# Tools\\n<tools>' }}\n"
    "    {%- for tool in tools %}\n        {{- '\\n' }}\n        {{- tool | tojson }}\n"
    "    {%- endfor %}\n    {{- '\\n</tools><|im_end|>\\n' }}\n{%- endif %}\n"
    "{%- set ns = namespace(multi_step_tool=true, last=messages|length - 1) %}\n"
    "{%- for message in messages[::-1] %}\n"
    "    {%- set index = (messages|length - 1) - loop.index0 %}\n"
    "    {%- if ns.multi_step_tool and message.role == 'user' and message.content is string %}\n"
    "        {%- set ns.multi_step_tool = false %}{%- set ns.last = index %}\n"
    "    {%- endif %}\n{%- endfor %}\n{%- for message in messages %}\n"
    "    {%- set content = message.content %}\n"
    "    {%- if message.role == 'assistant' and '</think>' in content %}\n"
    "        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n    {%- endif %}\n"
    "    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n"
    "{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n"
    "        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + "
    "message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}"
    "{{'<start_of_turn>model\n'}}{% endif %}"
)
MACROS = (
    "{% macro turn(m) %}[{{ m.role|upper }}] {{ m.content }}{% endmacro %}"
    "{% for m in messages %}{% generation %}{{ turn(m) }}{% endgeneration %}"
    "{% if loop.index > 3 %}{% break %}{% endif %}{% endfor %}{{ strftime_now('%Y') }}"
)
TOOL = {"type": "function", "function": {"name": "größe", "parameters": {"a": [1, 2.5, None]}}}
TEMPLATES = [LLAMA, QWEN, GEMMA, MACROS]
TURNS = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant"]), "content": st.text(max_size=40)},
        optional={"name": st.none() | st.text(max_size=5)},
    ),
    min_size=1,
    max_size=4,
)
TIME, MEMORY = r"2 s .* templates\.cpu_s", r"536,870,912 .* templates\.memory_nbytes"
HOSTILE = {
    "much text": ("x" * 65_537, r"65,536 .* templates\.template_nbytes"),
    "much text of few letters": ("大" * 30_000, r"templates\.template_nbytes"),
    "nested loops": (
        "{% set r = range(99999) %}" + "{% for a in r %}" * 4 + "{% endfor %}" * 4,
        TIME,
    ),
    "one filter": (
        "{{ (range(99999)|list * 99)|sort|unique|list|length }}" * 9,
        f"{TIME}|{MEMORY}",
    ),
    "a power": ("{{ 7 ** (10 ** 9) }}", f"{TIME}|{MEMORY}"),
    "a repetition": ("{{ 'x' * 10 ** 9 }}", MEMORY),
    "a huge repetition": ("{{ 'x' * 10 ** 15 }}", MEMORY),
    "doubling": (
        "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s * 2 %}{% endfor %}",
        MEMORY,
    ),
    "padding": ("{{ 'x'.center(10 ** 9) }}", MEMORY),
    "a format": ("{{ '%1000000000d' % 1 }}", MEMORY),
    "much output": (
        "{% for i in range(40000) %}{{ 'x' * 1000 }}{% endfor %}",
        r"33,554,432 .* templates\.characters",
    ),
    "a macro in itself": ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "nested too deeply"),
    "deep blocks": ("{% if 1 %}" * 2500 + "{% endif %}" * 2500, "nested too deeply"),
    "deep brackets": ("{{ " + "(" * 25_000 + "1" + ")" * 25_000 + " }}", "nested too deeply"),
}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return byte_tokenizer()


@pytest.mark.parametrize("template", TEMPLATES, ids=["llama", "qwen", "gemma", "macros"])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    messages=TURNS,
    tools=st.sampled_from([None, [TOOL]]),
    prompting=st.booleans(),
    extra=st.sampled_from([{}, {"enable_thinking": False}, {"date_string": "1\ud800"}]),
)
def test_ordinary_templates_render_as_transformers_does(
    tokenizer, template, messages, tools, prompting, extra
) -> None:
    options = {"tools": tools, "add_generation_prompt": prompting, **extra}
    expected = tokenizer.apply_chat_template(
        messages, chat_template=template, tokenize=False, **options
    )
    assert render_chat(tokenizer, messages, chat_template=template, **options) == expected


def test_an_answer_may_be_continued(tokenizer) -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b "}]
    expected = tokenizer.apply_chat_template(chat, tokenize=False, continue_final_message=True)
    assert render_chat(tokenizer, chat, continue_final_message=True) == expected


def test_what_is_long_and_ordinary_is_within_bounds(tokenizer) -> None:
    chat = [{"role": "user", "content": "大" * (5 << 20) + "🐾\n" * (1 << 18)}]
    expected = tokenizer.apply_chat_template(chat, chat_template=QWEN, tokenize=False)
    assert render_chat(tokenizer, chat, chat_template=QWEN) == expected


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_ends_at_a_bound(tokenizer, name: str) -> None:
    template, bound = HOSTILE[name]
    chat = [{"role": "user", "content": "hi"}]
    with pytest.raises(TemplateTooCostly, match=bound):
        render_chat(tokenizer, chat, chat_template=template)
    assert render_chat(tokenizer, chat, chat_template="{{ messages[0].content }}") == "hi"


@pytest.mark.parametrize(
    ("bounds", "template", "setting"),
    [
        ({"template_nbytes": 10}, "{{ 123456789 }}", r"10 bytes .*templates\.template_nbytes"),
        ({"cpu_s": 1}, HOSTILE["nested loops"][0], r"1 s .*templates\.cpu_s"),
        ({"memory_nbytes": 64 << 20}, "{{ 'x' * 10 ** 8 }}", r"67,108,864 .*memory_nbytes"),
        ({"characters": 3}, "four", r"3 characters .*templates\.characters"),
        ({"wall_s": 1e-9}, "x", r"templates\.wall_s"),
    ],
)
def test_every_bound_is_a_setting_that_its_error_names(bounds, template, setting) -> None:
    renderer = ChatRenderer(Bounds(**bounds))
    try:
        with pytest.raises(TemplateTooCostly, match=setting):
            renderer.render(template, [], {}, {})
    finally:
        renderer.close()


def test_the_environment_sets_bounds_and_takes_no_other_names(monkeypatch) -> None:
    monkeypatch.setenv("CLADE_TEMPLATES__CPU_S", "7")
    assert Bounds().cpu_s == 7
    assert Settings().timers  # the hub hands it on to the trainer that it keeps
    monkeypatch.setenv("CLADE_TEMPLATES__CPU", "7")
    with pytest.raises(ValueError, match=r"CLADE_TEMPLATES__CPU is no setting.*__CPU_S"):
        Bounds()


def test_clients_wish_for_what_the_template_reads_and_for_nothing_of_ours(tokenizer) -> None:
    template = "{{ thinking }}|{{ messages|length }}|{{ add_generation_prompt }}|{{ bos_token }}"
    wishes = {
        "thinking": "yes",
        "messages": [],
        "add_generation_prompt": "no",
        "bos_token": "other",
        "chat_template": "{{ 'mine' }}",
        "conversations": [[]],
        "tokenizer": 1,
        "self": 2,
        "return_assistant_tokens_mask": True,
        "continue_final_message": True,
    }
    chat = [{"role": "user", "content": "hi"}]
    expected = tokenizer.apply_chat_template(
        chat, chat_template=template, tokenize=False, thinking="yes", add_generation_prompt=True
    )
    assert expected.startswith("yes|1|True|")
    asked = {"chat_template": template, "add_generation_prompt": True}
    assert render_chat(tokenizer, chat, wishes=wishes, **asked) == expected


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (GEMMA, "System role not supported"),
        ("{{ messages[0].content.nothing.at_all }}", "nothing"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ raise_exception('x' * 99999) }}", "^x{2000}$"),
        ("{% for %}", "Expected"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ],
)
def test_what_a_template_refuses_is_told_and_costs_no_process(tokenizer, template, says) -> None:
    shared_renderer().start()
    before = shared_renderer().starts
    with pytest.raises(TemplateRefused, match=says):
        render_chat(tokenizer, [{"role": "system", "content": "x"}], chat_template=template)
    assert shared_renderer().starts == before


def test_messages_that_are_nested_without_end_are_refused(tokenizer) -> None:
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TemplateRefused, match="nested"):
        render_chat(tokenizer, [{"role": "user", "content": deep}])


def test_a_process_that_was_killed_is_replaced() -> None:
    renderer = ChatRenderer()
    try:
        assert renderer.render("{{ a }}", [], {"a": "ä"}, {}) == "ä"
        assert renderer._process is not None
        os.kill(renderer._process.pid, signal.SIGKILL)
        renderer._process.wait()
        assert renderer.render("{{ a }}", [], {"a": 1}, {}) == "1"
        assert renderer.starts == 2
    finally:
        renderer.close()
