"""Deadlines in rows beside a clock: what a right clock cannot have written holds nothing up."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, or_
from sqlalchemy.orm import InstrumentedAttribute

SKEW = timedelta(hours=1)
"""Clocks of a hub's machines differ by less."""

Deadline = InstrumentedAttribute[datetime] | InstrumentedAttribute[datetime | None]


def is_over(until: Deadline, now: datetime, longest_s: float) -> ColumnElement[bool]:
    """Whether a wait or a lease of at most ``longest_s`` has ended, or cannot have begun."""
    return or_(until <= now, until > now + timedelta(seconds=longest_s) + SKEW)
