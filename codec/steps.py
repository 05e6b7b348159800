"""Frequencies in tables of CTX and SPARSE: how many slots there are, and steps of their shares."""

from typing import Final

import numpy as np

SLOTS: Final = 2048
STEPS: Final = np.array(
    [*range(16), *((8 + k) << (octave + 1) for octave in range(7) for k in range(8))], np.uint16
)
"""Slots that a frequency code stands for: exact to 15, then eight steps to the octave."""
