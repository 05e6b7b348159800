"""Runs of raw chunks held against their digests, read again before they count as damaged."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from app.contents.checked import OPINIONS
from app.xet.xorb import XorbInvalid, check_run

Run = TypeVar("Run", bytes, memoryview)


def read_run(read: Callable[[], Run], table: np.ndarray) -> Run:
    """The chunks that rows of :data:`~app.xet.xorb.TABLE` name, joined, as ``read`` gets them.

    Raises :class:`XorbInvalid` when none of several readings has their digests, and what ``read``
    raises.
    """
    fault: XorbInvalid | None = None
    for _ in range(OPINIONS):
        run = read()
        try:
            check_run(run, table)
        except XorbInvalid as error:
            fault = error
        else:
            return run
    assert fault is not None
    raise fault
