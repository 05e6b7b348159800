"""Byte accounting of the whole hub, by cause."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request

from app.api.deps import HubDep
from app.stats import BucketMeter, measure

router = APIRouter(tags=["storage"])


@router.get("/api/clade/stats")
def stats(request: Request, hub: HubDep) -> dict[str, Any]:
    """Logical and stored bytes; ``stored = logical - sum(saved) + sum(overhead)``, exactly."""
    state = request.app.state
    if not hasattr(state, "bucket_meter"):
        state.bucket_meter = BucketMeter(hub)
    return asdict(measure(hub, state.bucket_meter))
