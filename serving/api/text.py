"""A model's tokenizer as the API needs it: prompts and chats to token ids, tokens to text."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from chat.renderer import TemplateRefused, TemplateTooCostly, render_chat, shared_renderer
from serving.api.errors import ApiError
from serving.engine.text import REPLACEMENT


class Prompts:
    """Thread-safe. Raises ApiError for what the model has no way to read.

    ``template``: in place of the tokenizer's own. ``origin``: the repository the tokenizer is from.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None,
        template: str | None = None,
        origin: str = "this model",
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._origin = origin if template is None else "--chat-template"

    def warm_up(self) -> None:
        """Have ready what the first chat needs."""
        if self._template or (self._tokenizer is not None and self._tokenizer.chat_template):
            shared_renderer().start()

    @property
    def has_text(self) -> bool:
        """Whether there is a tokenizer."""
        return self._tokenizer is not None

    def encode(self, prompt: str | Sequence[int]) -> list[int]:
        """Token ids of a prompt, with the special tokens that the tokenizer adds by itself."""
        if not isinstance(prompt, str):
            return list(prompt)
        return self._ids(prompt, special=True)

    def encode_chat(
        self, messages: list[dict[str, Any]], wishes: Mapping[str, Any], **options: bool
    ) -> list[int]:
        """Token ids of a chat by the model's template; ``wishes``: what else a client gives it."""
        tokenizer = self._needed()
        if not (self._template or tokenizer.chat_template):
            raise ApiError(
                400,
                "this model has no chat template; use /v1/completions, or start the server with "
                "--chat-template",
                param="messages",
            )
        try:
            text = render_chat(
                tokenizer, messages, chat_template=self._template, wishes=wishes, **options
            )
        except TemplateTooCostly as error:
            raise ApiError(
                400,
                f"the chat template of {self._origin} cannot be used on these messages: {error}; "
                "start the server with another one (--chat-template) if it does so always",
                code="chat_template_too_costly",
                param="messages",
            ) from error
        except (TemplateRefused, ValueError, TypeError) as error:
            raise ApiError(
                400, f"the chat template does not take these messages: {error}", param="messages"
            ) from error
        return self._ids(text, special=False)

    def decoder(self) -> PreTrainedTokenizerBase | None:
        """A tokenizer of its own for another thread."""
        return copy.deepcopy(self._tokenizer)

    def token(self, token_id: int) -> str:
        """The text of one token by itself; its name where that is part of a character."""
        if self._tokenizer is None:
            return f"token_id:{token_id}"
        text = str(self._tokenizer.decode([token_id]))
        whole = REPLACEMENT not in text
        return text if whole else str(self._tokenizer.convert_ids_to_tokens(token_id))

    def text(self, token_ids: Sequence[int]) -> str:
        """The text of token ids, special tokens included."""
        return str(self._needed().decode(list(token_ids)))

    def _ids(self, text: str, *, special: bool) -> list[int]:
        # Truncation and padding are never set, so that no call changes the tokenizer.
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ApiError(400, "the prompt is not valid Unicode", param="prompt") from error
        return self._needed()(text, add_special_tokens=special)["input_ids"]

    def _needed(self) -> PreTrainedTokenizerBase:
        if self._tokenizer is None:
            raise ApiError(400, "this model has no tokenizer: send token ids as the prompt")
        return self._tokenizer
