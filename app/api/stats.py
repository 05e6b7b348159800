"""Byte accounting of the whole hub, by cause: for those who run it, as it tells of everybody."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from app.api.deps import Admin
from app.errors import Unavailable
from app.stats import Meter

router = APIRouter(tags=["storage"])

WAIT_S = 5.0
"""How long a request waits for figures that are due; after that it gets the last ones."""


@router.get("/api/clade/stats")
def stats(request: Request, _admin: Admin) -> dict[str, Any]:
    """Logical and stored bytes; ``stored = logical - sum(saved) + sum(overhead)``, exactly.

    On a small hub as of this second; on a large one as of ``measuredAt``.
    """
    meter: Meter = request.app.state.meter
    measured = meter.latest(wait_s=WAIT_S)
    if measured is None:
        raise Unavailable("the hub is being measured for the first time; ask again in a minute")
    return {"measuredAt": measured.at.isoformat(), **asdict(measured.stats)}
