"""``/v1/models``, ``/health`` and ``/metrics``: what is served, and how it is."""

from typing import Any

from fastapi import APIRouter, Response

from serving.api.deps import ServiceDep
from serving.api.errors import ApiError
from serving.api.service import Service

router = APIRouter()
open_router = APIRouter()
"""Asked by whoever watches the process, without a key."""


@router.get("/v1/models")
async def models(service: ServiceDep) -> dict[str, Any]:
    """The model and its adapters."""
    return {"object": "list", "data": _cards(service)}


@router.get("/v1/models/{model:path}")
async def model(model: str, service: ServiceDep) -> dict[str, Any]:
    """One of them."""
    service.adapter_of(model)
    return next(card for card in _cards(service) if card["id"] == model)


@router.get("/metrics")
async def metrics(service: ServiceDep) -> Response:
    """Prometheus."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


@open_router.get("/health")
async def health(service: ServiceDep) -> dict[str, str]:
    """200 while the engine runs."""
    if service.loop.fault is not None:
        raise ApiError(503, service.loop.fault, code="engine_dead")
    return {"status": "ok"}


def _cards(service: Service) -> list[dict[str, Any]]:
    served = service.served
    common = {"object": "model", "created": service.started_at, "owned_by": "clade"}
    whole = {"id": served.name, **common, "root": served.root, "parent": None}
    whole["max_model_len"] = service.engine.runner.longest
    adapters = [
        {"id": name, **common, "root": root, "parent": served.name}
        for name, root in service.adapters.items()
    ]
    return [whole, *adapters]
