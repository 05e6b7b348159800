"""Families: which models derive from which, as declared and as measured."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from app.api.dates import wire_date
from app.api.deps import Caller, HubDep
from app.errors import NotFound
from app.families.listing import ListedFamily, ListedMember, find_family, list_families

router = APIRouter(tags=["families"])


@router.get("/api/clade/families")
def families(
    hub: HubDep,
    caller: Caller,
    after: int = Query(0, ge=0, lt=1 << 63),
    limit: int = Query(100, ge=1, le=500),
) -> dict[str, Any]:
    """Families that exist for the caller, by id.

    ``next`` continues the listing, null at its end; a page before may be shorter than ``limit``.
    """
    with hub.db.read() as session:
        found, following = list_families(session, caller, after=after, limit=limit)
    return {"families": [_family(each) for each in found], "next": following}


@router.get("/api/clade/families/{family_id}")
def family(
    hub: HubDep, caller: Caller, family_id: Annotated[int, Path(ge=0, lt=1 << 63)]
) -> dict[str, Any]:
    """One family with its members."""
    with hub.db.read() as session:
        found = find_family(session, caller, family_id)
    if found is None:
        raise NotFound(f"no family {family_id}")
    return _family(found) | {"members": [_member(each) for each in found.members]}


def _family(found: ListedFamily) -> dict[str, Any]:
    return {
        "id": found.id,
        "root": found.root,
        "size": len(found.members),
        "logical_bytes": found.logical_nbytes,
        "stored_bytes": found.stored_nbytes,
    }


def _member(member: ListedMember) -> dict[str, Any]:
    return {
        "id": member.repo_id,
        "private": member.private,
        "root": member.is_root,
        "declared_base": member.declared_base,
        "declared_here": member.declared_here,
        "declared_relation": member.declared_relation,
        "measured_parent": member.measured_parent,
        "relation": member.relation,
        "agrees": member.agrees,
        "bit_distance": member.bit_distance,
        "logical_bytes": member.logical_nbytes,
        "stored_bytes": member.stored_nbytes,
        "measured_at": wire_date(member.measured_at),
    }
