"""Buffers are lent to one user at a time and used again."""

from client import buffers
from client.buffers import SMALLEST_NBYTES, Buffers


def test_buffer_given_back_is_lent_again():
    lender = Buffers()
    with lender.lease(10) as first:
        first[:] = b"0123456789"
    with lender.lease(SMALLEST_NBYTES) as again:
        assert len(again) == SMALLEST_NBYTES
        assert again[:10] == b"0123456789"


def test_buffers_in_use_at_once_do_not_overlap():
    lender = Buffers()
    with lender.lease(4) as one, lender.lease(4) as other:
        one[:], other[:] = b"aaaa", b"bbbb"
        assert (bytes(one), bytes(other)) == (b"aaaa", b"bbbb")


def test_free_buffers_beyond_the_limit_are_dropped(monkeypatch):
    monkeypatch.setattr(buffers, "KEPT_NBYTES", SMALLEST_NBYTES)
    lender = Buffers()
    with lender.lease(4), lender.lease(4) as other:
        other[:] = b"kept"
    with lender.lease(4) as kept, lender.lease(4) as fresh:
        assert (bytes(kept), bytes(fresh)) == (b"kept", bytes(4))
