"""A model's chat template is a program of somebody else: it cannot hang or fill the server."""

import pytest
from openai import BadRequestError

from serving.api.text import Prompts
from tests.fixtures.inference import NAME, service_of, serving
from tests.fixtures.tiny_models import byte_tokenizer

HI = [{"role": "user", "content": "Hi"}]
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
HUGE = "{{ 'x' * 10 ** 9 }}"
ON_DEMAND = (
    "{% if messages[0].content == 'loop' %}" + LOOPS + "{% endif %}"
    "{% if messages[0].content == 'fill' %}" + HUGE + "{% endif %}{{ messages[0].content }}"
)


def test_the_client_is_told_which_template_and_which_bound() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = ON_DEMAND
    service = service_of(prompts=Prompts(tokenizer, origin="mallory/hostile"))
    with serving(service) as running:
        client = running.client()
        for content, bound in (
            ("loop", r"templates\.cpu_s"),
            ("fill", r"templates\.memory_nbytes"),
        ):
            asked = [{"role": "user", "content": content}]
            with pytest.raises(BadRequestError, match=bound) as caught:
                client.chat.completions.create(model=NAME, messages=asked)
            assert caught.value.code == "chat_template_too_costly"
            assert "template of mallory/hostile" in str(caught.value)
            assert "--chat-template" in str(caught.value)
        reserved = dict.fromkeys(["messages", "self", "wishes", "chat_template", "tokenizer"], 1)
        done = client.chat.completions.create(
            model=NAME, messages=HI, max_tokens=2, extra_body={"chat_template_kwargs": reserved}
        )
        assert done.usage.prompt_tokens == 2
        assert running.settled()
