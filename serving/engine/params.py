"""How one answer is to be drawn and when it ends, checked before it is believed."""

from dataclasses import dataclass, field

MAX_LOGPROBS = 20
MAX_STOPS = 16
MAX_STOP_CHARS = 1024
SEED_RANGE = (-(1 << 63), (1 << 64) - 1)


class BadParams(ValueError):
    """A sampling parameter out of bounds; ``param`` is its name, the message is for users."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingParams:
    """The sampling parameters of OpenAI's API and of vLLM's extensions to it, under vLLM's names.

    Order (that of transformers): logit bias; repetition, frequency and presence penalties;
    temperature; top_k; top_p; min_p. ``temperature`` 0 is greedy. ``seed`` None: one is drawn.
    ``logprobs``: how many alternatives to report with each token (0: the token alone), taken from
    the model's own distribution. ``min_tokens``: no end-of-sequence or stop token before that many.
    Raises BadParams.
    """

    max_tokens: int = 16
    min_tokens: int = 0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = field(default_factory=dict)
    seed: int | None = None
    logprobs: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    skip_special_tokens: bool = True

    def __post_init__(self) -> None:
        _check("max_tokens", self.max_tokens, 1, None)
        _check("min_tokens", self.min_tokens, 0, self.max_tokens)
        _check("temperature", self.temperature, 0, 100)
        if not 0 < self.top_p <= 1:
            raise BadParams("top_p", f"top_p must be above 0 and at most 1, not {self.top_p}")
        _check("top_k", self.top_k, -1, None)
        _check("min_p", self.min_p, 0, 1)
        _check("presence_penalty", self.presence_penalty, -2, 2)
        _check("frequency_penalty", self.frequency_penalty, -2, 2)
        if not 0 < self.repetition_penalty <= 100:
            raise BadParams(
                "repetition_penalty",
                f"repetition_penalty must be above 0 and at most 100, not "
                f"{self.repetition_penalty}",
            )
        for bias in self.logit_bias.values():
            _check("logit_bias", bias, -100, 100)
        if self.seed is not None:
            _check("seed", self.seed, *SEED_RANGE)
        if self.logprobs is not None:
            _check("logprobs", self.logprobs, 0, MAX_LOGPROBS)
        if len(self.stop) > MAX_STOPS or len(self.stop_token_ids) > MAX_STOPS:
            raise BadParams("stop", f"at most {MAX_STOPS} stop strings and stop tokens")
        if any(not 0 < len(stop) <= MAX_STOP_CHARS for stop in self.stop):
            raise BadParams("stop", f"a stop string has 1 to {MAX_STOP_CHARS} characters")

    @property
    def is_greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature == 0 or self.top_k == 1

    @property
    def has_penalties(self) -> bool:
        """Whether logits depend on what was said before, or on a bias."""
        return bool(
            self.presence_penalty
            or self.frequency_penalty
            or self.repetition_penalty != 1
            or self.logit_bias
        )


def _check(name: str, value: float, least: float, most: float | None) -> None:
    if not value >= least or (most is not None and not value <= most):
        bounds = f"at least {least}" if most is None else f"between {least} and {most}"
        raise BadParams(name, f"{name} must be {bounds}, not {value}")
