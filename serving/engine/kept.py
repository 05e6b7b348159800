"""Latency models kept on a node, by what they were measured on."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from serving.sched.latency import FittedLatency


class KeptLatency:
    """One model of a node's cache. ``facts``: all that its numbers depend on."""

    def __init__(self, cache: Path, facts: Sequence[Any]) -> None:
        told = [*facts, [field.name for field in fields(FittedLatency)]]
        key = sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:24]
        self._path = cache / "serving" / "profiles" / f"{key}.json"

    def read(self) -> FittedLatency | None:
        """What was kept; None if nothing readable was."""
        with suppress(OSError, ValueError, TypeError):
            return FittedLatency(**json.loads(self._path.read_text()))
        return None

    def write(self, latency: FittedLatency) -> None:
        """Keep it for the next start."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(asdict(latency)))
