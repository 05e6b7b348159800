"""Which vector instructions Numba compiles for: the same on one machine and in one cache."""

import platform
from typing import Final, Literal

from llvmlite import binding
from numba.core import config

InstructionSet = Literal["avx512", "avx2", "portable"]

_AVX512: Final = (
    "skylake-avx512",
    "cascadelake",
    "cooperlake",
    "icelake",
    "tigerlake",
    "rocketlake",
    "sapphirerapids",
    "emeraldrapids",
    "graniterapids",
    "znver4",
    "znver5",
    "x86-64-v4",
)
_NO_WORD_SHUFFLES: Final = ("skylake-avx512", "cascadelake", "cooperlake", "x86-64-v4")
_NO_QUICK_GATHERS: Final = ("znver4",)
_AVX2: Final = (
    "haswell",
    "broadwell",
    "skylake",
    "alderlake",
    "znver1",
    "znver2",
    "znver3",
    "x86-64-v3",
)


def instruction_set() -> InstructionSet:
    """What this process may use: ``NUMBA_CPU_NAME`` if it is set, otherwise the processor.

    Processors that are not known by name get the portable kernels.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return "portable"
    name: str | None = getattr(config, "CPU_NAME", None)
    if name is not None and name != "host":
        if name.startswith(_AVX512):
            return "avx512"
        return "avx2" if name.startswith(_AVX2) else "portable"
    features = binding.get_host_cpu_features()
    if all(features.get(needed) for needed in ("avx512f", "avx512bw", "avx512vl")):
        return "avx512"
    return "avx2" if features.get("avx2") else "portable"


def has_word_shuffles() -> bool:
    """Whether AVX-512 can spread 16-bit words over a register (VBMI2): since Ice Lake and Zen 4."""
    if instruction_set() != "avx512":
        return False
    name: str | None = getattr(config, "CPU_NAME", None)
    if name is not None and name != "host":
        return not name.startswith(_NO_WORD_SHUFFLES)
    return bool(binding.get_host_cpu_features().get("avx512vbmi2"))


def has_quick_gathers() -> bool:
    """Whether sixteen elements are gathered sooner than they are loaded one by one.

    Not with AVX2, and not on Zen 4, which takes 22 ns for 64 elements that sixteen loads and
    inserts each bring in 15.
    """
    if instruction_set() != "avx512":
        return False
    name: str | None = getattr(config, "CPU_NAME", None)
    if name is None or name == "host":
        name = binding.get_host_cpu_name()
    return not name.startswith(_NO_QUICK_GATHERS)
