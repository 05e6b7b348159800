"""Whether the hub lives, whether it can serve, and what it measures."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from app.api.deps import Caller, HubDep, get_admin, get_signed_in
from app.api.request_bodies import sends
from app.degraded import degradations
from app.errors import HubError
from app.hub import Hub
from app.networks import is_within, parse_networks

router = APIRouter(tags=["service"])

PROBE_KEY = "probe/readyz"
"""Never written: asking for it reaches the store and finds nothing."""


@router.get("/healthz")
@router.head("/healthz", include_in_schema=False)
def healthz() -> dict[str, Any]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"description": "What does not answer."}})
@router.head("/readyz", include_in_schema=False)
def readyz(hub: HubDep, response: Response) -> dict[str, Any]:
    """Database and store answer; 503 says which one does not.

    ``degraded`` names what an operator should look at although the hub serves.
    """
    checks = {"database": _database_fault(hub), "store": _store_fault(hub)}
    missing = {name: fault for name, fault in checks.items() if fault is not None}
    if missing:
        response.status_code = 503
        return {"status": "unavailable", "missing": missing}
    return {"status": "ok", "checks": sorted(checks), "degraded": degradations(hub)}


@router.get("/metrics", responses=sends("text/plain"), response_class=Response)
def metrics(request: Request, hub: HubDep, caller: Caller) -> Response:
    """Prometheus text, for administrators and for the addresses of ``metrics_from``."""
    client = request.client.host if request.client else ""
    if not is_within(client, parse_networks(hub.settings.metrics_from)):
        get_admin(get_signed_in(caller))
    registry: CollectorRegistry = request.app.state.metrics_registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _database_fault(hub: Hub) -> str | None:
    try:
        with hub.db.read() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return type(error).__name__
    return None


def _store_fault(hub: Hub) -> str | None:
    try:
        hub.store.stat(PROBE_KEY)
    except (HubError, OSError) as error:
        return type(error).__name__
    return None
