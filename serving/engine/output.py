"""What an engine tells of its requests, one event at a time."""

from dataclasses import dataclass
from enum import StrEnum

from serving.engine.sampling import TokenLogprobs
from serving.sched.decision import Reason


class Finish(StrEnum):
    """Why an answer is over, in OpenAI's words."""

    STOP = "stop"
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class TokenOutput:
    """One more token. ``text`` is what it lets out, maybe empty: text is held back for stops.

    With ``finish`` it is the last one. ``stopped_by``: the stop string or stop token, None for the
    model's own end of sequence. ``at_s``: on the engine's clock.
    """

    request_id: str
    token: int
    text: str
    at_s: float
    logprobs: TokenLogprobs | None = None
    finish: Finish | None = None
    stopped_by: str | int | None = None
    num_cached_tokens: int = 0
    """Tokens of the prompt that the prefix cache held."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The policy said no; no token was given. ``retry_after_s`` None: asking again is no use."""

    request_id: str
    reason: Reason
    retry_after_s: float | None


@dataclass(frozen=True, slots=True)
class Failed:
    """The engine lost this request; the message is fit to be shown."""

    request_id: str
    message: str


Event = TokenOutput | Refused | Failed
