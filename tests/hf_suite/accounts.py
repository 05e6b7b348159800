"""The accounts that the upstream tests log in with, read from their own constants."""

import runpy
from pathlib import Path
from typing import Any

from app.accounts.users import create_org, create_user
from app.hub import Hub, open_hub
from app.settings import Settings

TEST_ORG = "valid_org_hub"
TEST_ORG_FULLNAME = "Dummy Hub Org"


def seed_accounts(data: Path, tests: Path) -> None:
    """Create the users and organisations that ``testing_constants.py`` names."""
    names: dict[str, Any] = runpy.run_path(str(tests / "testing_constants.py"))
    hub = open_hub(Settings(data=data))  # pyright: ignore[reportCallIssue]
    try:
        _seed(hub, names)
    finally:
        hub.close()


def _seed(hub: Hub, names: dict[str, Any]) -> None:
    user = names["USER"]
    create_user(hub, user, token=names["TOKEN"], fullname=names.get("FULL_NAME", "Dummy User"))
    create_org(hub, TEST_ORG, fullname=TEST_ORG_FULLNAME, admins=[user])
    create_user(hub, names["OTHER_USER"], token=names["OTHER_TOKEN"])
    admin = names["ENTERPRISE_USER"]
    create_user(hub, admin, token=names["ENTERPRISE_TOKEN"])
    create_org(hub, names["ENTERPRISE_ORG"], admins=[admin], private_by_default=True)
