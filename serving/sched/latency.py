"""How long a step takes, as policies foretell it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.sched.shape import StepShape

Vector = NDArray[np.float64]


class LatencyModel(Protocol):
    """Foretells durations, in seconds; may be re-fitted between steps."""

    def decode_s(self, num_seqs: float, mean_context: float) -> float:
        """A step of decodes over sequences of ``mean_context`` tokens.

        ``num_seqs`` may be fractional: a virtual batch.
        """
        ...

    def decodes_s(self, num_seqs: Vector, mean_context: Vector) -> Vector:
        """The same for many at once."""
        ...

    def prefill_s(self, num_tokens: int) -> float:
        """A step that computes so many prompt tokens and nothing else."""
        ...

    def prefills_s(self, num_tokens: Vector) -> Vector:
        """The same for many at once."""
        ...

    def step_s(self, shape: StepShape) -> float:
        """Any step, decodes and chunks of prompts together."""
        ...

    def prompt_tokens_within(
        self, seconds: float, num_decodes: float, context_tokens: float
    ) -> int:
        """The most prompt tokens beside such decodes that keep a step within ``seconds``."""
        ...

    @property
    def prefill_token_s(self) -> float:
        """What one more prompt token costs in a long prefill."""
        ...


@dataclass(slots=True, kw_only=True)
class FittedLatency:
    """The models of SCORPIO (arXiv 2505.23022, §3), and one of ours for steps that mix both.

    Decode, ``B`` sequences of mean length ``L``: ``ITL(B, L) = a·B·L + b·B + c·L + d``.
    Prefill of ``n`` tokens: ``pre(n) = φ`` up to ``θ`` tokens, then ``α·n + β``.

    Mixed, ``B`` decodes beside ``n`` prompt tokens (ours): linear layers see ``B + n`` tokens alike
    and are bound either by reading weights (``b·B + d``) or by arithmetic (``pre(B + n)``), while
    attention of decodes (``a·B·L + c·L``) and of chunks on what lies before them (``e`` for each
    query-key pair) adds up: ``max(b·B + d, pre(B + n)) + a·B·L + c·L + e·pairs``. That is a machine
    whose arithmetic hides behind its reads; where it does not, both are paid, ``b·B + d + α·n``.
    ``f`` is the share of the second form, from 0 (a GPU) to 1 (a CPU), and ``g`` what a step that
    is mixed costs besides. Without decodes it is ``pre(n) + e·pairs``; attention within a chunk is
    in ``pre``.

    Units: seconds and tokens.
    """

    a: float
    b: float
    c: float
    d: float
    theta: float
    phi: float
    alpha: float
    beta: float
    e: float = 0.0
    f: float = 0.0
    g: float = 0.0

    def decode_s(self, num_seqs: float, mean_context: float) -> float:
        """``ITL``."""
        return (self.a * num_seqs + self.c) * mean_context + self.b * num_seqs + self.d

    def decodes_s(self, num_seqs: Vector, mean_context: Vector) -> Vector:
        """``ITL``."""
        return (self.a * num_seqs + self.c) * mean_context + self.b * num_seqs + self.d

    def prefill_s(self, num_tokens: float) -> float:
        """``pre``."""
        return self.phi if num_tokens <= self.theta else self.alpha * num_tokens + self.beta

    def prefills_s(self, num_tokens: Vector) -> Vector:
        """``pre``."""
        line_s = self.alpha * num_tokens + self.beta
        return np.where(num_tokens <= self.theta, self.phi, line_s)

    def step_s(self, shape: StepShape) -> float:
        """``ITL`` of decodes alone, ``pre`` of prompts alone, else the mixed form."""
        num_seqs = shape.num_decodes
        if not shape.prefill_tokens:
            return self.decode_s(num_seqs, shape.mean_context) if num_seqs else 0.0
        attention = self.e * shape.pairs_behind
        if not num_seqs:
            return self.prefill_s(shape.prefill_tokens) + attention
        attention += (self.a * num_seqs + self.c) * shape.mean_context
        return attention + self.g + self._linear_s(num_seqs, shape.prefill_tokens, self.f)

    def _linear_s(self, num_seqs: float, num_tokens: float, paid: float) -> float:
        """Linear layers of a mixed step if such a share of the hidden part were paid."""
        reads = self.b * num_seqs + self.d
        hidden = max(reads, self.prefill_s(num_seqs + num_tokens))
        return hidden + paid * (reads + self.alpha * num_tokens - hidden)

    def hidden_s(self, shape: StepShape) -> float:
        """What ``f = 1`` would add to a mixed step; less than 0 where ``pre`` counts it anyway."""
        at = shape.num_decodes, shape.prefill_tokens
        return self._linear_s(*at, 1.0) - self._linear_s(*at, 0.0)

    def prompt_tokens_within(
        self, seconds: float, num_decodes: float, context_tokens: float
    ) -> int:
        """The mixed form, solved for ``n`` (without ``e``); 0 if the decodes alone take longer."""
        mean = context_tokens / num_decodes if num_decodes else 0.0
        linear_s = seconds - self.a * context_tokens - self.c * mean
        if not num_decodes:
            paid, reads = 0.0, 0.0
        else:
            linear_s -= self.g
            paid, reads = self.f, self.b * num_decodes + self.d
        hides = 1 - paid
        if linear_s < max(reads, hides * self.phi + paid * reads):
            return 0
        costs = paid * self.alpha
        flat = linear_s - paid * reads - hides * self.phi
        tokens = self.theta - num_decodes
        if costs > 0:
            tokens = min(tokens, flat / costs)
        if self.alpha > 0:
            line = (linear_s - paid * reads - hides * self.beta) / self.alpha
            tokens = max(tokens, line - hides * num_decodes)
        if costs > 0:
            tokens = min(tokens, (linear_s - reads) / costs)
        return max(0, int(tokens))

    @property
    def prefill_token_s(self) -> float:
        """``α``."""
        return self.alpha
