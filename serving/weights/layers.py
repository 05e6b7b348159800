"""The order in which a model's tensors are fetched: what precedes, each layer, the rest."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

_NUMBER = re.compile(r"\.(\d+)\.")


def layers_of(units: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Names of tensors by layer, in the order of the model; keys are the parameters they make."""
    before: list[str] = []
    layers: defaultdict[int, list[str]] = defaultdict(list)
    after: list[str] = []
    for target, names in units.items():
        number = _NUMBER.search(target)
        if number is not None:
            layers[int(number[1])] += names
        else:
            (before if "embed" in target or "wte" in target else after).extend(names)
    return [group for group in (before, *(layers[n] for n in sorted(layers)), after) if group]
