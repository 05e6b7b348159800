"""Threads: what is said, by whom, who may change it, and how they are listed."""

from dataclasses import replace

import pytest
from sqlalchemy import delete

from app.catalog.discussions import (
    change_status,
    check_title,
    comment,
    edit_comment,
    hide_comment,
    open_discussion,
    rename,
)
from app.catalog.repos import set_private
from app.catalog.threads import count_discussions, list_discussions, load_thread
from app.db.tables import Account
from app.errors import Conflict, Forbidden, InvalidRequest, LimitExceeded, NotFound
from tests.fixtures.proposals import Forum


def numbers(forum: Forum, **filters) -> list[int]:
    with forum.hub.db.read() as session:
        count, page = list_discussions(session, forum.repo, **{"limit": 50, **filters})
    assert count >= len(page)
    return [each.discussion.number for each in page]


def events(forum: Forum, number: int = 1) -> list[tuple[str, str, str | None]]:
    with forum.hub.db.read() as session:
        thread = load_thread(session, forum.repo, number)
    return [(each.event.type, each.event.text, each.author) for each in thread.events]


def test_a_thread_tells_what_happened(forum: Forum):
    hub, ada, bob, repo = forum.hub, forum.ada, forum.bob, forum.repo
    made = open_discussion(hub, bob, repo, "  A question ", "Why?\n\tI ask.")
    comment(hub, ada, repo, 1, "Because")
    rename(hub, ada, repo, 1, "An answer")
    change_status(hub, bob, repo, 1, "closed", "thank you")
    change_status(hub, ada, repo, 1, "open")
    assert (made.number, made.title) == (1, "A question")
    assert events(forum) == [
        ("comment", "Why?\n\tI ask.", "bob"),
        ("comment", "Because", "ada"),
        ("title-change", "An answer", "ada"),
        ("comment", "thank you", "bob"),
        ("status-change", "closed", "bob"),
        ("status-change", "open", "ada"),
    ]
    with pytest.raises(Conflict, match="open already"):
        change_status(hub, bob, repo, 1, "open")


def test_others_change_nothing(forum: Forum):
    hub, ada, bob, repo = forum.hub, forum.ada, forum.bob, forum.repo
    open_discussion(hub, ada, repo, "of ada", "hers")
    with forum.hub.db.read() as session:
        first = load_thread(session, repo, 1).events[0].event.id
    of_bob = comment(hub, bob, repo, 1, "his").event.id
    for attempt in (
        lambda: rename(hub, bob, repo, 1, "of bob"),
        lambda: change_status(hub, bob, repo, 1, "closed"),
        lambda: hide_comment(hub, bob, repo, 1, first),
        lambda: edit_comment(hub, bob, repo, 1, first, "never said"),
        lambda: edit_comment(hub, ada, repo, 1, of_bob, "nobody puts words in his mouth"),
    ):
        with pytest.raises(Forbidden):
            attempt()
    assert events(forum) == [("comment", "hers", "ada"), ("comment", "his", "bob")]


def test_what_is_hidden_is_gone(forum: Forum):
    hub, ada, bob, repo = forum.hub, forum.ada, forum.bob, forum.repo
    open_discussion(hub, ada, repo, "title", "")
    said = comment(hub, bob, repo, 1, "rude").event.id
    edited = edit_comment(hub, bob, repo, 1, said, "still rude")
    assert (edited.event.text, edited.event.edits) == ("still rude", 1)
    hidden = hide_comment(hub, ada, repo, 1, said)
    assert (hidden.event.text, hidden.event.hidden, hidden.author) == ("", True, "bob")
    hide_comment(hub, bob, repo, 1, said)
    with pytest.raises(Conflict, match="hidden"):
        edit_comment(hub, bob, repo, 1, said, "again")


def test_only_comments_of_the_thread_are_edited(forum: Forum):
    hub, ada, repo = forum.hub, forum.ada, forum.repo
    open_discussion(hub, ada, repo, "one", "said in one")
    open_discussion(hub, ada, repo, "two", "")
    renamed = rename(hub, ada, repo, 1, "one!").event.id
    with forum.hub.db.read() as session:
        first = load_thread(session, repo, 1).events[0].event.id
    with pytest.raises(InvalidRequest, match="no comment"):
        edit_comment(hub, ada, repo, 1, renamed, "text")
    for number, event in ((2, first), (1, 10**9), (3, first)):
        with pytest.raises(NotFound):
            edit_comment(hub, ada, repo, number, event, "text")


@pytest.mark.parametrize("title", ["", "  ab  ", "x" * 201, "a\nb c", "a\x1b[2J", "safe\u202egpj"])
def test_titles_that_are_none(title: str):
    with pytest.raises(InvalidRequest):
        check_title(title)


def test_titles_in_any_script():
    for title in ("👩\u200d🔬 model", "می\u200cخواهم", "ok!"):
        assert check_title(title) == title


def test_comments_that_are_none(forum: Forum):
    hub, ada, repo = forum.hub, forum.ada, forum.repo
    open_discussion(hub, ada, repo, "title", "")
    for text in (" \n", "a\x07b"):
        with pytest.raises(InvalidRequest):
            comment(hub, ada, repo, 1, text)
    with pytest.raises(LimitExceeded, match=r"limits\.message_nbytes"):
        comment(hub, ada, repo, 1, "é" * 40_000)
    assert events(forum) == []


def test_lists_are_filtered_and_paged(forum: Forum):
    hub, ada, bob, repo = forum.hub, forum.ada, forum.bob, forum.repo
    open_discussion(hub, ada, repo, "one", "")
    forum.propose(bob, {"a": b"1"})
    open_discussion(hub, bob, repo, "three", "")
    change_status(hub, ada, repo, 1, "closed")
    assert numbers(forum) == [3, 2, 1]
    assert numbers(forum, kind="pull_request") == [2]
    assert numbers(forum, kind="discussion") == [3, 1]
    assert numbers(forum, status="open") == [3, 2]
    assert numbers(forum, status="closed") == [1]
    assert numbers(forum, status="draft") == numbers(forum, author="nobody") == []
    assert numbers(forum, author="BOB", status="open", kind="discussion") == [3]
    assert numbers(forum, start=1, limit=1) == [2]
    assert numbers(forum, start=5) == []


def test_what_somebody_opened_is_counted_where_it_is_seen(forum: Forum):
    open_discussion(forum.hub, forum.bob, forum.repo, "one", "")
    with forum.hub.db.read() as session:
        bob = session.get_one(Account, forum.bob.account_id)
        assert count_discussions(session, None, bob) == 1
    set_private(forum.hub, forum.repo, True)
    with forum.hub.db.read() as session:
        assert count_discussions(session, None, bob) == 0
        assert count_discussions(session, forum.ada, bob) == 1


def test_threads_outlive_their_authors(forum: Forum):
    open_discussion(forum.hub, forum.bob, forum.repo, "one", "text")
    number = forum.propose(forum.bob, {"a": b"1"})
    gone = delete(Account).where(Account.id == forum.bob.account_id)
    forum.hub.db.run(lambda session: session.execute(gone).close())
    with forum.hub.db.read() as session:
        assert load_thread(session, forum.repo, 1).author is None
    assert events(forum) == [("comment", "text", None)]
    assert numbers(forum) == [number, 1]
    nobody = replace(forum.bob, account_id=forum.bob.account_id + 1000)
    with pytest.raises(Forbidden):
        rename(forum.hub, nobody, forum.repo, 1, "mine now")
