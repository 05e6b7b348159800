"""Who a token belongs to: ``hf auth login`` and ``whoami``."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import select

from app.accounts.tokens import Principal
from app.api.dates import wire_date
from app.api.deps import HubDep, SignedIn
from app.db.tables import Account, Repo
from app.hub import Hub

router = APIRouter(tags=["accounts"])


@router.get("/api/whoami-v2")
def whoami(hub: HubDep, caller: SignedIn) -> dict[str, Any]:
    """The user behind the token, with organisations and the token's role."""
    with hub.db.read() as session:
        orgs = session.scalars(
            select(Account).where(Account.id.in_(list(caller.orgs))).order_by(Account.key)
        ).all()
    return {
        "type": "user",
        "id": f"{caller.account_id:024x}",
        "name": caller.name,
        "fullname": caller.fullname,
        "email": caller.email,
        "emailVerified": caller.email is not None,
        "canPay": False,
        "isPro": False,
        "periodEnd": None,
        "avatarUrl": "",
        "orgs": [
            {
                "type": "org",
                "id": f"{org.id:024x}",
                "name": org.name,
                "fullname": org.fullname or org.name,
                "email": None,
                "canPay": False,
                "periodEnd": None,
                "avatarUrl": "",
                "roleInOrg": caller.orgs[org.id],
                "isEnterprise": False,
            }
            for org in orgs
        ],
        "auth": {
            "type": "access_token",
            "accessToken": {
                "displayName": caller.token_name,
                "role": caller.role,
                "createdAt": wire_date(caller.token_created_at),
            }
            | _fine_grained(hub, caller),
        },
    }


READS = ["repo.content.read"]
WRITES = [*READS, "discussion.write", "repo.write"]
"""What a scope lets do, in the words of the Hugging Face Hub."""


def _fine_grained(hub: Hub, caller: Principal) -> dict[str, Any]:
    """What a token of that kind opens; nothing about any other."""
    if caller.scope is None:
        return {}
    namespaces, repos = caller.scope.namespaces, caller.scope.repos
    with hub.db.read() as session:
        accounts = session.scalars(select(Account).where(Account.id.in_(namespaces))).all()
        named = session.execute(
            select(Repo, Account.name)
            .join(Account, Account.id == Repo.namespace_id)
            .where(Repo.id.in_(repos))
        ).all()
    scoped = [
        _entity(each.id, each.kind, each.name, namespaces[each.id])
        for each in sorted(accounts, key=lambda account: account.key)
    ] + [
        _entity(repo.id, repo.type, f"{owner}/{repo.name}", repos[repo.id])
        for repo, owner in sorted(named, key=lambda row: row.Repo.key)
    ]
    return {"fineGrained": {"canReadGatedRepos": False, "global": [], "scoped": scoped}}


def _entity(entity_id: int, kind: str, name: str, writes: bool) -> dict[str, Any]:
    return {
        "entity": {"_id": f"{entity_id:024x}", "type": kind, "name": name},
        "permissions": WRITES if writes else READS,
    }
