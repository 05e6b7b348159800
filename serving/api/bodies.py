"""Bodies of requests: OpenAI's fields and vLLM's additions, and the parameters they mean."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from serving.api.errors import ApiError
from serving.api.slo import SloField
from serving.engine.params import MAX_LOGPROBS, SamplingParams

MOST_CHOICES = 32
MOST_PROMPTS = 64
MOST_SALT = 1024
"""Characters of ``cache_salt``; 43 of base64 are 256 bits."""

Number = float | int


class StreamOptions(BaseModel):
    """``stream_options``."""

    include_usage: bool = False


class Sampling(BaseModel):
    """What both endpoints share. Unknown fields are let pass, as OpenAI's clients send many."""

    model_config = ConfigDict(extra="allow")

    model: str
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: StrictInt = Field(1, ge=1, le=MOST_CHOICES)
    max_tokens: StrictInt | None = None
    min_tokens: StrictInt = 0
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: StrictInt | None = None
    min_p: Number = 0.0
    presence_penalty: Number | None = 0.0
    frequency_penalty: Number | None = 0.0
    repetition_penalty: Number = 1.0
    logit_bias: dict[str, Number] | None = None
    seed: StrictInt | None = None
    stop: StrictStr | list[StrictStr] | None = None
    stop_token_ids: list[StrictInt] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True
    priority: StrictInt = 0
    cache_salt: StrictStr | None = Field(None, min_length=1, max_length=MOST_SALT)
    slo: SloField | None = None

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def refuse(self, **unserved: object) -> None:
        """Fields that would change the answer and are not served, with the value that is.

        Raises ApiError.
        """
        given = self.model_extra or {}
        for name, only in unserved.items():
            if given.get(name, only) not in (only, None):
                raise ApiError(400, f"{name} is not supported by this server", param=name)

    def params(
        self, *, max_tokens: int, logprobs: int | None, defaults: dict[str, Any], choice: int = 0
    ) -> SamplingParams:
        """Sampling parameters of one choice; ``defaults`` are the model's. Raises BadParams."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SamplingParams(
            max_tokens=max_tokens,
            min_tokens=self.min_tokens,
            temperature=_first(self.temperature, defaults.get("temperature"), 1.0),
            top_p=_first(self.top_p, defaults.get("top_p"), 1.0),
            top_k=_first(self.top_k, defaults.get("top_k"), 0),
            min_p=self.min_p,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty,
            logit_bias=_biases(self.logit_bias),
            seed=None if self.seed is None else self.seed + choice,
            logprobs=logprobs,
            stop=tuple(stop),
            stop_token_ids=tuple(self.stop_token_ids or ()),
            include_stop_str_in_output=self.include_stop_str_in_output,
            ignore_eos=self.ignore_eos,
            skip_special_tokens=self.skip_special_tokens,
        )


class CompletionBody(Sampling):
    """``POST /v1/completions``."""

    prompt: StrictStr | list[StrictStr] | list[StrictInt] | list[list[StrictInt]]
    echo: StrictBool = False
    logprobs: StrictInt | None = Field(None, ge=0, le=MAX_LOGPROBS)

    @property
    def prompts(self) -> list[str | list[int]]:
        """One or more prompts, as text or token ids. Raises ApiError for none or too many."""
        prompt: Any = self.prompt
        if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)):
            prompt = [prompt]
        if not 1 <= len(prompt) <= MOST_PROMPTS:
            raise ApiError(400, f"between 1 and {MOST_PROMPTS} prompts at once", param="prompt")
        return prompt


class Message(BaseModel):
    """One message of a chat; what a template may want beside is kept."""

    model_config = ConfigDict(extra="allow")

    role: str
    content: str | list[dict[str, Any]] | None = None

    def as_template_input(self) -> dict[str, Any]:
        """Text parts joined; other parts are refused. Raises ApiError."""
        content = self.content
        if isinstance(content, list):
            if any(part.get("type") != "text" for part in content):
                raise ApiError(400, "this model reads text only", param="messages")
            content = "".join(str(part.get("text", "")) for part in content)
        return {**(self.model_extra or {}), "role": self.role, "content": content or ""}


class ChatBody(Sampling):
    """``POST /v1/chat/completions``."""

    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: StrictInt | None = None
    logprobs: StrictBool | None = None
    top_logprobs: StrictInt | None = Field(None, ge=0, le=MAX_LOGPROBS)
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    response_format: dict[Literal["type"], str] | None = None

    @property
    def wanted_logprobs(self) -> int | None:
        """How many alternatives to tell. Raises ApiError."""
        if self.top_logprobs is not None and not self.logprobs:
            raise ApiError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
        return (self.top_logprobs or 0) if self.logprobs else None


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _biases(given: dict[str, Number] | None) -> dict[int, float]:
    try:
        return {int(token): float(bias) for token, bias in (given or {}).items()}
    except ValueError as error:
        raise ApiError(400, "logit_bias is keyed by token ids", param="logit_bias") from error
