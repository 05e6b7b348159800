"""What cards name is found by the names that repositories have, and by those they had."""

from app.accounts.tokens import authenticate
from app.accounts.users import create_user
from app.catalog.moving import move_repo
from app.catalog.repos import set_private
from app.deltas.relatives import declared_bases
from app.hub import Hub
from app.ingest.creation import create_repo


def test_a_base_is_found_by_its_former_name(any_hub: Hub):
    tokens = [create_user(any_hub, name).token for name in ("ada", "bob")]
    with any_hub.db.read() as session:
        ada, bob = (authenticate(session, token) for token in tokens)
    base = create_repo(any_hub, ada, "model", None, "base")
    tuned = create_repo(any_hub, bob, "model", None, "tuned")

    def declared(*names: str) -> list[int]:
        with any_hub.db.read() as session:
            return declared_bases(session, tuned, names)

    assert declared("Ada/Base", "nobody/x", "tuned", "bob/tuned") == [base.id]
    move_repo(any_hub, ada, base, "ada", "renamed")
    assert declared("ada/base") == declared("ada/renamed", "ada/base") == [base.id]
    set_private(any_hub, base, True)
    assert declared("ada/base", "ada/renamed") == []
