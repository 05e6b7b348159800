"""What ``--additional-config '{"clade": {…}}'`` says about scheduling in vLLM."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from client.local import default_cache_dir
from serving.sched.latency import FittedLatency

KEY = "clade"


class BadOptions(ValueError):
    """An option that does not exist or cannot be; the message says which there are."""


@dataclass(frozen=True, slots=True)
class SchedulingOptions:
    """``policy``: a name of ``serving.sched.named``.

    ``max_num_waiting``: beyond so many waiting requests new ones are refused. ``latency``:
    coefficients of a known engine; None: found while serving. ``cache``: where those are kept.
    """

    policy: str = "scorpio-plus"
    max_num_waiting: int | None = None
    latency: FittedLatency | None = None
    cache: Path = field(default_factory=default_cache_dir)

    @classmethod
    def of(cls, additional: Mapping[str, Any]) -> Self:
        """From vLLM's ``additional_config``. Raises BadOptions."""
        given = additional.get(KEY, {})
        names = {each.name for each in fields(cls)}
        if not isinstance(given, Mapping) or not given.keys() <= names:
            raise BadOptions(f"{KEY} takes {', '.join(sorted(names))}; it was given {given!r}")
        chosen = dict(given)
        try:
            if (latency := chosen.get("latency")) is not None:
                chosen["latency"] = FittedLatency(**latency)
            if "cache" in chosen:
                chosen["cache"] = Path(chosen["cache"])
            bound = chosen.get("max_num_waiting")
            if bound is not None and int(bound) < 0:
                raise ValueError("max_num_waiting is not negative")
            return cls(**chosen)
        except (TypeError, ValueError) as error:
            raise BadOptions(f"{KEY}: {error}") from error
