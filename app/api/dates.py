"""The one form of a date that the clients parse: ``YYYY-MM-DDTHH:MM:SS.mmmZ``."""

from datetime import UTC, datetime


def wire_date(moment: datetime) -> str:
    """A timezone-aware moment in UTC with milliseconds."""
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%dT%H:%M:%S}.{utc.microsecond // 1000:03d}Z"
