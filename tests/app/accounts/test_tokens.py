"""Tokens open what they should, and only their digest is stored."""

import re

import pytest
from sqlalchemy import text

from app.accounts.tokens import authenticate, new_token, revoke_token
from app.accounts.users import create_user
from app.errors import Unauthorized
from app.hub import Hub


def test_token_names_its_principal(hub: Hub):
    user = create_user(hub, "Ada", orgs=["acme"], admin=True)
    with hub.db.read() as session:
        principal = authenticate(session, user.token)
    assert (principal.name, principal.role, principal.is_admin) == ("Ada", "write", True)
    assert list(principal.orgs.values()) == ["admin"]


def test_unknown_and_revoked_tokens_are_refused(hub: Hub):
    user = create_user(hub, "ada")
    hub.db.run(lambda session: revoke_token(session, hub, user.token))
    with hub.db.read() as session:
        for token in (user.token, "hf_other", ""):
            with pytest.raises(Unauthorized):
                authenticate(session, token)


def test_the_database_never_holds_a_token(hub: Hub):
    user = create_user(hub, "ada", token="hf_very_secret_token")
    assert user.token == "hf_very_secret_token"
    with hub.db.read() as session:
        rows = session.execute(text("SELECT * FROM access_token")).all()
    assert b"hf_very_secret_token" not in repr(rows).encode()
    assert "hf_very_secret_token" not in repr(rows)


def test_fresh_tokens_are_random():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch("hf_[A-Za-z0-9]{43}", token) for token in tokens)
