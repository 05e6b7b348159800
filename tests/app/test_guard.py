import pytest

from app.guard import forbid_in_transaction, transaction_section


def test_store_access_is_refused_inside_a_transaction_only() -> None:
    forbid_in_transaction("put")
    with transaction_section(), pytest.raises(RuntimeError, match=r"store\.put"):
        forbid_in_transaction("put")
    forbid_in_transaction("put")
