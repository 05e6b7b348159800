"""Who a token belongs to: ``hf auth login`` and ``whoami``."""

from typing import Any

from fastapi import APIRouter
from sqlalchemy import select

from app.api.dates import wire_date
from app.api.deps import HubDep, SignedIn
from app.db.tables import Account

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
            },
        },
    }
