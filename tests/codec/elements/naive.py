"""Plain twins of ``codec.elements.cast_kernels``, by way of numbers of double precision."""

import math

import numpy as np

BITS = {"BF16": (8, 7), "F16": (5, 10), "F32": (8, 23)}
"""Bits of exponent and mantissa."""


def cast(words: np.ndarray, source: str, target: str) -> np.ndarray:
    """Words of one float type as those of another; up is exact, down rounds to nearest even."""
    width = (1 + sum(BITS[target])) // 8
    return np.array([cast_word(int(word), source, target) for word in words], f"<u{width}")


def cast_word(word: int, source: str, target: str) -> int:
    if source != "F32" and target not in (source, "F32"):
        return cast_word(cast_word(word, source, "F32"), "F32", target)
    exponents, mantissas = BITS[source]
    sign = word >> (exponents + mantissas)
    exponent = (word >> mantissas) % (1 << exponents)
    mantissa = word % (1 << mantissas)
    if exponent == (1 << exponents) - 1 and mantissa:
        return not_a_number(sign, mantissa, source, target)
    return encoded(value(exponent, mantissa, source), sign, target)


def value(exponent: int, mantissa: int, dtype: str) -> float:
    exponents, mantissas = BITS[dtype]
    bias = (1 << (exponents - 1)) - 1
    if exponent == (1 << exponents) - 1:
        return math.inf
    if exponent == 0:
        return math.ldexp(mantissa, 1 - bias - mantissas)
    return math.ldexp(mantissa + (1 << mantissas), exponent - bias - mantissas)


def encoded(number: float, sign: int, dtype: str) -> int:
    """The word of a magnitude; ``round`` rounds to even."""
    exponents, mantissas = BITS[dtype]
    bias = (1 << (exponents - 1)) - 1
    infinity = ((1 << exponents) - 1) << mantissas
    top = sign << (exponents + mantissas)
    if math.isinf(number):
        return top | infinity
    exponent = max(math.frexp(number)[1] - 1, 1 - bias) if number else 1 - bias
    steps = round(math.ldexp(number, mantissas - exponent))
    # Steps beyond a binade carry into the exponent by themselves.
    return top | min(steps + ((exponent + bias - 1) << mantissas), infinity)


def not_a_number(sign: int, mantissa: int, source: str, target: str) -> int:
    exponents, mantissas = BITS[target]
    shift = mantissas - BITS[source][1]
    payload = mantissa << shift if shift >= 0 else mantissa >> -shift | 1 << (mantissas - 1)
    return (((sign << exponents) | ((1 << exponents) - 1)) << mantissas) | payload
