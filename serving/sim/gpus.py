"""How long steps take on real accelerators: constants, each with its source.

Nothing here was measured by this project. ``linear`` constants are sums over all linear operators
of a model, fitted on the CSV files that Vidur publishes (microsoft/vidur, MIT; Agrawal et al.,
MLSys 2024); attention is computed from the architecture, as is said at each constant.
"""

from dataclasses import dataclass

from serving.sched.shape import StepShape


class UnknownHardware(ValueError):
    """No constants are known for this pair of accelerator and model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTimes:
    """The simulator's truth; policies see only what is fitted to samples of it.

    Linear layers take ``max(read_s + read_token_s·T, compute_s + compute_token_s·T)`` for the ``T``
    tokens of a step, whoever they belong to: bound by reading weights, or by arithmetic. Attention
    adds ``kv_read_s`` for each token of the decoding sequences and ``pair_s`` for each query-key
    pair of prompts; the engine itself ``overhead_s`` a step. ``kv_tokens``: how many tokens' keys
    and values the KV pool holds. ``notes``: where each comes from.
    """

    gpu: str
    model: str
    read_s: float
    read_token_s: float
    compute_s: float
    compute_token_s: float
    kv_read_s: float
    pair_s: float
    overhead_s: float
    kv_tokens: int
    notes: tuple[str, ...]

    def step_s(self, shape: StepShape) -> float:
        """Seconds that a step takes."""
        tokens = shape.num_decodes + shape.prefill_tokens
        linear = max(
            self.read_s + self.read_token_s * tokens,
            self.compute_s + self.compute_token_s * tokens,
        )
        pairs = shape.pairs_within + shape.pairs_behind
        attention = self.kv_read_s * shape.context_tokens + self.pair_s * pairs
        return self.overhead_s + linear + attention


KV_BYTES = 131_072
"""Llama-3-8B in 16 bits: 2 · 32 layers · 8 heads · 128 · 2 bytes for each token."""
PAIR_FLOP = 32 * 4 * 4096
"""Llama-3-8B: 32 layers · 4 · 4,096 floating-point operations for each query-key pair."""
_KV = "kv_read: 131,072 B a token over the nominal bandwidth (computed, not measured)"
_PAIR = "pair: 524,288 FLOP at half the nominal 16-bit peak (computed, not measured)"
_OVERHEAD = "overhead: 4 ms a step, the middle of the 3 to 5 ms usual for Python engines (assumed)"
_POOL = "kv_tokens: 90 % of 80 GB, less 16 GB of weights and 2 GB of work space (computed)"
_KV_TOKENS = int((0.9 * 80e9 - 16e9 - 2e9) / KV_BYTES)

STEP_TIMES = (
    StepTimes(
        gpu="a100",
        model="llama-3-8b",
        read_s=9.33e-3,
        read_token_s=0.0440e-3,
        compute_s=7.5e-3,
        compute_token_s=0.0666e-3,
        kv_read_s=KV_BYTES / 2.0e12,
        pair_s=PAIR_FLOP / (0.5 * 312e12),
        overhead_s=4e-3,
        kv_tokens=_KV_TOKENS,
        notes=(
            "linear: measured by Vidur, A100-80GB, Llama-3-8B (R² .9998)",
            f"{_KV} of 2.0 TB/s",
            f"{_PAIR} of 312 TFLOP/s",
            _OVERHEAD,
            _POOL,
        ),
    ),
    StepTimes(
        gpu="h100",
        model="llama-3-8b",
        read_s=5.41e-3 * 9.33 / 8.45,
        read_token_s=0.0150e-3 * 0.0440 / 0.0439,
        compute_s=3.3e-3,
        compute_token_s=0.0203e-3 * 0.0666 / 0.0643,
        kv_read_s=KV_BYTES / 3.35e12,
        pair_s=PAIR_FLOP / (0.5 * 989e12),
        overhead_s=4e-3,
        kv_tokens=_KV_TOKENS,
        notes=(
            "linear: EXTRAPOLATED: Vidur's H100 Llama-2-7B times the two models' ratio on A100",
            f"{_KV} of 3.35 TB/s",
            f"{_PAIR} of 989 TFLOP/s",
            _OVERHEAD,
            _POOL,
        ),
    ),
)


def step_times(gpu: str, model: str) -> StepTimes:
    """The constants of a pair.

    Raises:
        UnknownHardware: there are none; says which there are.
    """
    for times in STEP_TIMES:
        if (times.gpu, times.model) == (gpu, model):
            return times
    known = ", ".join(f"{times.gpu} × {times.model}" for times in STEP_TIMES)
    raise UnknownHardware(f"no constants for {gpu} × {model}; there are {known}")
