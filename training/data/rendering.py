"""Examples as tokens, by the model's chat template, and which of the tokens are learnt."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from chat.renderer import TemplateTooCostly, render_chat
from training.data.errors import Fault
from training.data.records import Example
from training.data.sample import Sample

DEFAULT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] or '' }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""ChatML, for models that bring none."""


class Unrenderable(Exception):
    """An example that the template does not render so that its answers can be told apart.

    ``is_costly``: it took the template more than it may take, so that others need not be tried.
    """

    def __init__(self, fault: Fault, *, is_costly: bool = False) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.is_costly = is_costly


class Renderer:
    """Examples to samples, for one tokenizer and template.

    The answer of an assistant begins where the prompt for it ends: the conversation up to it is
    rendered with the generation prompt, and must be the beginning of the whole. Templates need no
    marks for that. A template that renders earlier turns differently once later ones are there
    (some drop the thinking of earlier answers) is refused with the line and the turn.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: str | None = None) -> None:
        self.tokenizer = tokenizer
        own = tokenizer.chat_template
        self.template = template or (own if isinstance(own, str) else None) or DEFAULT_TEMPLATE
        self.is_default = self.template == DEFAULT_TEMPLATE

    def sample(self, example: Example, max_tokens: int) -> tuple[Sample, int]:
        """Its tokens, at most so many, and how many were cut off at the end.

        Raises Unrenderable.
        """
        if example.is_chat:
            text, learnt = self._chat(example)
            end = None
        else:
            text = example.prompt + example.completion
            learnt, end = [(len(example.prompt), len(text))], self.tokenizer.eos_token_id
        encoded = self.tokenizer(
            text, add_special_tokens=not example.is_chat, return_offsets_mapping=True
        )
        tokens: list[int] = list(encoded["input_ids"])
        spans: list[tuple[int, int]] = list(encoded["offset_mapping"])
        chosen = [stop > start and any(a <= start < b for a, b in learnt) for start, stop in spans]
        if end is not None and tokens[-1:] != [end]:
            tokens, chosen = [*tokens, end], [*chosen, True]
        elif end is not None:
            chosen[-1] = True
        cut = max(0, len(tokens) - max_tokens)
        sample = Sample(torch.tensor(tokens[:max_tokens]), torch.tensor(chosen[:max_tokens]))
        if not len(sample.places):
            told = "has nothing to learn" + (
                f" in its first {max_tokens} of {len(tokens)} tokens; raise max_seq_len" * bool(cut)
            )
            raise Unrenderable(Fault(example.line, "", told))
        return sample, cut

    def _chat(self, example: Example) -> tuple[str, list[tuple[int, int]]]:
        """The whole text, and the characters of it that are learnt."""
        messages = example.messages
        whole = self._render(example, messages)
        learnt: list[tuple[int, int]] = []
        for place, is_learnt in enumerate(example.learnt):
            if not is_learnt:
                continue
            before = self._render(example, messages[:place], prompting=True)
            after = self._render(example, messages[: place + 1])
            if not whole.startswith(before) or not whole.startswith(after.rstrip()):
                raise Unrenderable(
                    Fault(
                        example.line,
                        f"messages[{place}]",
                        "the chat template renders this turn otherwise once others follow, so that "
                        "what is learnt cannot be told; give weight 0 to all but the last answer, "
                        "or another template",
                    )
                )
            learnt.append((len(before), min(len(after), len(whole))))
        return whole, learnt

    def _render(
        self, example: Example, messages: Sequence[Mapping[str, Any]], *, prompting: bool = False
    ) -> str:
        try:
            return render_chat(
                self.tokenizer,
                messages,
                tools=None if example.tools is None else [dict(each) for each in example.tools],
                chat_template=self.template,
                add_generation_prompt=prompting,
            )
        except TemplateTooCostly as error:
            told = f"the chat template cannot be used on it: {error}"
            raise Unrenderable(Fault(example.line, "messages", told), is_costly=True) from error
        except (TypeError, ValueError) as error:
            told = f"the chat template refuses it: {error}"
            raise Unrenderable(Fault(example.line, "messages", told)) from error
