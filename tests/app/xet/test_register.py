"""Shards become files: from fresh xorbs, from dropped ones, and never from somebody else's."""

import hashlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import delete, func, select, update

from app.accounts.tokens import authenticate
from app.accounts.users import create_user
from app.catalog.repos import delete_repo, reserve_repo
from app.db.tables import (
    Content,
    Encoding,
    File,
    FileGrant,
    Lease,
    Repo,
    Segment,
    StoredObject,
    Xorb,
    XorbTerm,
)
from app.errors import ContentNotFound, Damaged, HubError, IntegrityError, RepoNotFound
from app.restore.plan import load_plan
from app.restore.reader import FileReader
from app.xet import xorb
from app.xet.epoch import bump_cas_epoch, cas_realm
from app.xet.register import register_shard
from app.xet.shard import ShardInvalid, parse_shard
from app.xet.staging import has_xorb, store_xorb
from app.xet.terms import drop_stale_xorbs
from app.xet.tokens import XetGrantee
from tests.fixtures.faulty import Fault, FaultyStore
from tests.fixtures.xorbs import build_shard, build_xorb, content_of, file_block


class Uploader:
    """A user with a repository, speaking Xet to the domain."""

    def __init__(self, hub, name):
        self.hub = hub
        self.user = create_user(hub, name)
        self.repo = self.new_repo("model")

    def new_repo(self, name):
        with self.hub.db.read() as session:
            principal = authenticate(session, self.user.token)
        return reserve_repo(self.hub, principal, "model", None, name)

    def send(self, *xorbs):
        return [
            store_xorb(self.hub, self.user.account_id, each.digest, [each.stored]) for each in xorbs
        ]

    def register(self, *blocks, repo=None, progress=lambda done, total: None):
        grantee = XetGrantee(self.user.account_id, (repo or self.repo).id)
        files = parse_shard(build_shard(*blocks), self.hub.settings.limits)
        register_shard(self.hub, grantee, files, progress)

    def has(self, built):
        return has_xorb(self.hub, self.user.account_id, built.digest)


@pytest.fixture
def alice(hub):
    return Uploader(hub, "alice")


def random_xorb(seed, nbytes=400_000, scheme=xorb.LZ4):
    return build_xorb(random.Random(seed).randbytes(nbytes), scheme)


def rows(hub, *columns):
    with hub.db.read() as session:
        return session.execute(select(*columns)).all()


def stored_files(hub):
    plans = [load_plan(hub, file_id) for (file_id,) in rows(hub, File.id)]
    return [b"".join(FileReader(hub, plan).stream(0, plan.nbytes)) for plan in plans]


def live_xorb_objects(hub):
    with hub.db.read() as session:
        return session.scalar(
            select(func.count())
            .select_from(StoredObject)
            .where(StoredObject.purpose == "xorb", StoredObject.state == "live")
        )


def test_file_of_several_xorbs_comes_back(any_hub):
    alice = Uploader(any_hub, "alice")
    first, second = random_xorb(1), random_xorb(2, scheme=xorb.AS_IS)
    runs = [(first, 0, 8), (second, 3, 5), (first, 2, 3), (second, 0, 8)]
    assert alice.send(first, second) == [True, True]
    told = []
    alice.register(file_block(runs), progress=lambda done, total: told.append((done, total)))
    assert stored_files(any_hub) == [content_of(runs)]
    assert told[-1] == (len(content_of(runs)), len(content_of(runs)))
    assert live_xorb_objects(any_hub) == 0, "files hold every chunk"
    assert rows(any_hub, FileGrant.repo_id) == [(alice.repo.id,)]


def test_xorb_sent_twice_is_stored_once(hub, alice):
    built = random_xorb(1)
    assert alice.send(built, built) == [True, False]
    assert live_xorb_objects(hub) == 1
    assert alice.has(built)


def test_xorb_sent_four_times_at_once_is_stored_once(any_hub):
    alice = Uploader(any_hub, "alice")
    built = random_xorb(1)
    together = threading.Barrier(4)

    def send(_):
        def buffers():
            yield built.stored
            together.wait(30)

        return store_xorb(any_hub, alice.user.account_id, built.digest, buffers())

    with ThreadPoolExecutor(4) as executor:
        assert sorted(executor.map(send, range(4))) == [False, False, False, True]
    assert live_xorb_objects(any_hub) == 1


def test_chunks_that_no_file_holds_keep_the_xorb(hub, alice):
    built = random_xorb(1)
    alice.send(built)
    alice.register(file_block([(built, 0, 5)]))
    assert live_xorb_objects(hub) == 1
    alice.register(file_block([(built, 4, 8)]))
    assert live_xorb_objects(hub) == 0
    assert alice.has(built)


def test_dropped_xorb_is_read_from_the_files_that_hold_it(hub, alice):
    built, other = random_xorb(1), random_xorb(2)
    alice.send(built, other)
    alice.register(file_block([(built, 0, 5)]), file_block([(other, 0, 8), (built, 5, 8)]))
    assert live_xorb_objects(hub) == 0
    again = [(built, 3, 7), (other, 1, 2), (built, 0, 8)]
    second = alice.new_repo("second")
    alice.register(file_block(again), repo=second)
    assert content_of(again) in stored_files(hub)
    assert (second.id,) in rows(hub, FileGrant.repo_id)
    owners = [owner for (owner,) in rows(hub, Lease.owner)]
    assert len(owners) == 3, "only the leases of the three ingested files are left"


def test_same_file_again_is_granted_without_being_copied(hub, alice):
    built = random_xorb(1)
    runs = [(built, 0, 8), (built, 2, 4)]
    alice.send(built)
    alice.register(file_block(runs))
    objects = len(rows(hub, StoredObject.id))
    second = alice.new_repo("second")
    alice.register(file_block(runs), repo=second)
    assert len(rows(hub, StoredObject.id)) == objects
    assert len(rows(hub, File.id)) == 1
    assert len(rows(hub, XorbTerm.id)) == 2
    assert {repo for (repo,) in rows(hub, FileGrant.repo_id)} == {alice.repo.id, second.id}


def test_same_file_again_is_stored_anew_if_it_is_damaged(hub, alice):
    built = random_xorb(1)
    alice.send(built)
    alice.register(file_block([(built, 0, 8)]))
    hub.db.run(lambda session: session.execute(update(Content).values(health="damaged")))
    alice.register(file_block([(built, 0, 8)]))
    assert {health for (health,) in rows(hub, Content.health)} == {"ok"}
    assert stored_files(hub) == [content_of([(built, 0, 8)])]


def test_file_of_the_same_chunks_in_another_order_is_another_file(hub, alice):
    built = random_xorb(1)
    alice.send(built)
    there, back = [(built, 0, 4), (built, 4, 8)], [(built, 4, 8), (built, 0, 4)]
    alice.register(file_block(there), file_block(back))
    assert sorted(stored_files(hub)) == sorted([content_of(there), content_of(back)])
    sha256 = hashlib.sha256(content_of(there)).digest()
    with pytest.raises(IntegrityError):
        alice.register(file_block(back, sha256=sha256))


def test_xorbs_of_another_account_cannot_be_named(hub, alice):
    bob = Uploader(hub, "bob")
    built = random_xorb(1)
    alice.send(built)
    assert not bob.has(built)
    with pytest.raises(ContentNotFound):
        bob.register(file_block([(built, 0, 8)]))
    alice.register(file_block([(built, 0, 8)]))
    with pytest.raises(ContentNotFound):
        bob.register(file_block([(built, 0, 8)]))
    assert bob.send(built) == [True]
    bob.register(file_block([(built, 0, 8)]))
    assert len(rows(hub, File.id)) == 1


def test_without_sha256_the_hub_computes_it(hub, alice):
    built = random_xorb(1)
    alice.send(built)
    alice.register(file_block([(built, 0, 8)], with_sha256=False))
    assert stored_files(hub) == [content_of([(built, 0, 8)])]


def test_wrong_sha256_is_refused_and_nothing_is_visible(hub, alice):
    built = random_xorb(1)
    alice.send(built)
    with pytest.raises(IntegrityError):
        alice.register(file_block([(built, 0, 8)], sha256=bytes(32)))
    assert rows(hub, File.id) == []
    assert live_xorb_objects(hub) == 1


def altered(block, at, value):
    return block[:at] + value + block[at + len(value) :]


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, bytes(32)),  # file digest
        (48 + 36, (399_999).to_bytes(4, "little")),  # length of the term
        (48 + 40, (1).to_bytes(4, "little")),  # first chunk
        (48 + 44, (9).to_bytes(4, "little")),  # chunk beyond the end
        (48 + 44, (0).to_bytes(4, "little")),  # backwards
        (96, bytes(32)),  # verification digest
    ],
)
def test_shard_that_contradicts_its_xorbs_is_refused(hub, alice, at, value):
    built = random_xorb(1)
    alice.send(built)
    with pytest.raises(ShardInvalid):
        alice.register(altered(file_block([(built, 0, 8)]), at, value))
    assert rows(hub, File.id) == []


def test_mutated_shards_never_leave_a_wrong_file(hub, alice):
    rng = random.Random(11)
    built = random_xorb(1, nbytes=4_000)
    built = build_xorb(b"".join(built.chunks), chunk_nbytes=500)
    alice.send(built)
    honest = file_block([(built, 0, 8), (built, 2, 4)])
    contents = {content_of([(built, 0, 8), (built, 2, 4)])}
    for _ in range(300):
        block = bytearray(honest)
        at = rng.randrange(len(block))
        block[at] ^= 1 << rng.randrange(8)
        try:
            alice.register(bytes(block))
        except HubError:
            continue
    assert set(stored_files(hub)) <= contents


def test_deleted_repository_ends_the_upload(hub, alice):
    built = random_xorb(1)
    alice.send(built)
    delete_repo(hub, alice.repo)
    with pytest.raises(RepoNotFound):
        alice.register(file_block([(built, 0, 8)]))


def test_damaged_xorb_is_forgotten_so_that_it_is_sent_again(hub, alice):
    built = random_xorb(1)
    alice.send(built)
    ((key,),) = rows(hub, StoredObject.key)
    damaged = bytearray(hub.store.read(key, 0, sum(map(len, built.chunks))))
    damaged[len(damaged) // 2] ^= 1
    hub.store.delete(key)
    hub.store.put(key, [bytes(damaged)])
    realm = realm_of(hub, alice)
    with pytest.raises(Damaged):
        alice.register(file_block([(built, 0, 8)]))
    assert not alice.has(built)
    assert realm_of(hub, alice) != realm
    alice.send(built)
    alice.register(file_block([(built, 0, 8)]))
    assert stored_files(hub) == [content_of([(built, 0, 8)])]


@pytest.mark.parametrize("with_sha256", [True, False])
def test_wrong_byte_on_the_wire_is_read_again(hub, alice, with_sha256):
    built = random_xorb(1)
    alice.send(built)
    sound, hub.store = hub.store, FaultyStore(hub.store)
    hub.store.fail("read", Fault.NONE, Fault.WRONG_BYTES)
    alice.register(file_block([(built, 0, 8)], with_sha256=with_sha256))
    assert [each for each, _ in hub.store.calls].count("read") >= 2
    hub.store = sound
    assert alice.has(built)
    assert stored_files(hub) == [content_of([(built, 0, 8)])]


def test_collected_file_makes_clients_send_again(hub, alice):
    built = random_xorb(1)
    alice.send(built)
    alice.register(file_block([(built, 0, 8)]))

    def collect(session):
        session.execute(delete(Encoding))
        session.execute(delete(Segment))
        session.execute(delete(File))
        bump_cas_epoch(session)

    realm = realm_of(hub, alice)
    hub.db.run(collect)
    assert realm_of(hub, alice) != realm
    assert not alice.has(built)
    with pytest.raises(ContentNotFound):
        alice.register(file_block([(built, 0, 8)]))
    assert alice.send(built) == [True]
    alice.register(file_block([(built, 0, 8)]))
    assert stored_files(hub) == [content_of([(built, 0, 8)])]


def test_accounts_have_realms_of_their_own(hub, alice):
    assert realm_of(hub, alice) != realm_of(hub, Uploader(hub, "bob"))


def realm_of(hub, uploader):
    with hub.db.read() as session:
        return cas_realm(session, hub, uploader.user.account_id)


def test_stale_xorbs_are_forgotten_and_named_ones_remembered(hub, alice):
    left, held = random_xorb(1), random_xorb(2)
    alice.send(left, held)
    hub.clock.advance(hub.settings.timers.xorb_s - 1)
    alice.register(file_block([(held, 0, 8)]))
    hub.clock.advance(2)
    assert drop_stale_xorbs(hub) == 1
    assert not alice.has(left)
    assert alice.has(held)
    assert live_xorb_objects(hub) == 0
    hub.clock.advance(hub.settings.timers.xorb_s)
    assert drop_stale_xorbs(hub) == 1
    assert rows(hub, Xorb.id) == []
    assert rows(hub, Repo.id) == [(alice.repo.id,)]


def test_upload_that_is_given_up_leaves_nothing_visible(hub, alice):
    built = build_xorb(random.Random(1).randbytes(9 << 20), chunk_nbytes=100_000)
    alice.send(built)

    def give_up(done, total):
        raise IntegrityError("enough")

    with pytest.raises(IntegrityError, match="enough"):
        alice.register(file_block([(built, 0, len(built.chunks))]), progress=give_up)
    assert rows(hub, File.id) == []
    assert "pending" not in {state for (state,) in rows(hub, StoredObject.state)}
