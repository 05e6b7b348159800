import threading
import tracemalloc
from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from app.db.tables import Content
from app.errors import Damaged
from app.hub import Hub
from app.restore.plan import load_plan
from app.restore.pool import shared_pool
from app.restore.reader import FileReader, ReaderClosed, Work
from tests.fixtures.contents import ContentFactory, StoredFile

MIB = 1 << 20
CODECS = ["raw", "RAW", "ZSTD", "PLANE", "BITX"]
serial = count()


def weights(nbytes: int, seed: int) -> bytes:
    """Bytes that look like BF16 weights, never the same twice."""
    values = np.random.default_rng(seed).normal(0, 0.02, nbytes // 2 + 1).astype(np.float32)
    words = (values.view(np.uint32) >> 16).astype(np.uint16)
    return (next(serial).to_bytes(8, "little") + words.tobytes())[:nbytes]


def drifted(data: bytes) -> bytes:
    """What these weights were before a little training."""
    low = np.frombuffer(data, np.uint8)[::2]
    drift = np.random.default_rng(0).integers(-2, 3, low.size)
    words = bytearray(data)
    words[::2] = (low + drift).astype(np.uint8).tobytes()
    return bytes(words)


def mixed_file(contents: ContentFactory, sizes: list[int], codecs: list[str]) -> StoredFile:
    """A file of contents of these sizes and codecs; deltas get a base of their own."""
    ids = []
    for nbytes, codec in zip(sizes, codecs, strict=True):
        data = weights(nbytes, nbytes)
        base = contents.content(drifted(data), "PLANE") if codec == "BITX" else None
        ids += contents.contents([(data, codec, base)], gap=1)
    return contents.file(ids)


def idle(hub: Hub) -> bool:
    """Whether no download holds anything."""
    pool = shared_pool(hub.settings.restore_threads)
    return (pool.readers, pool.held_nbytes) == (0, 0)


def read_all(hub: Hub, file: StoredFile, start: int = 0, stop: int | None = None) -> bytes:
    reader = FileReader(hub, load_plan(hub, file.id))
    return b"".join(reader.stream(start, len(file.data) if stop is None else stop))


def read_until_damage(hub: Hub, file: StoredFile) -> bytes:
    """What a client has got when the transfer is cut."""
    delivered = bytearray()

    def receive() -> None:
        for part in FileReader(hub, load_plan(hub, file.id)).stream(0, len(file.data)):
            delivered.extend(part)

    with pytest.raises(Damaged):
        receive()
    return bytes(delivered)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_random_range_of_a_mixed_file_equals_the_slice(
    hub: Hub, contents: ContentFactory, data: st.DataObject
) -> None:
    sizes = data.draw(st.lists(st.integers(8, 600_000), min_size=1, max_size=6))
    codecs = [data.draw(st.sampled_from(CODECS)) for _ in sizes]
    file = mixed_file(contents, sizes, codecs)
    start = data.draw(st.integers(0, len(file.data)))
    stop = data.draw(st.integers(start, len(file.data)))

    assert read_all(hub, file, start, stop) == file.data[start:stop]


@pytest.mark.parametrize("codec", CODECS)
def test_content_of_many_items_comes_back_whole_and_in_ranges(
    hub: Hub, contents: ContentFactory, codec: str
) -> None:
    file = mixed_file(contents, [1000, 21 * MIB + 5, 70_000], ["raw", codec, "ZSTD"])

    assert read_all(hub, file) == file.data
    for start, stop in ((999, 1001), (MIB, 20 * MIB), (21 * MIB, len(file.data)), (5, 5)):
        assert read_all(hub, file, start, stop) == file.data[start:stop]


def test_small_contents_are_delivered_in_large_buffers(hub: Hub, contents: ContentFactory) -> None:
    ids = contents.contents([(weights(3000, i), "raw", None) for i in range(200)])
    file = contents.file(ids)

    sizes = [len(part) for part in FileReader(hub, load_plan(hub, file.id)).stream(0, 600_000)]

    assert sum(sizes) == 600_000
    assert all(nbytes >= 256 << 10 for nbytes in sizes[:-1])


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[:-1] + bytes([data[-1] ^ 0x80]),
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2] + bytes(4096) + data[len(data) // 2 + 4096 :],
        lambda data: data[::-1],
        None,
    ],
    ids=["first bit", "last bit", "truncated", "zeroed page", "other bytes", "deleted"],
)
@pytest.mark.parametrize("codec", ["raw", "ZSTD", "PLANE", "BITX"])
def test_corrupt_object_is_never_a_clean_wrong_body(
    hub: Hub, contents: ContentFactory, codec: str, spoil: Callable[[bytes], bytes] | None
) -> None:
    file = mixed_file(contents, [1000, 2 * MIB, 20_000], ["raw", codec, "raw"])
    refs = load_plan(hub, file.id).refs
    victims = {ref.key: ref for ref in refs.values()}
    victims |= {ref.base.key: ref.base for ref in refs.values() if ref.base}
    for key, ref in victims.items():
        good = contents.object_bytes(key)
        if spoil is None:
            hub.store.delete(key)
        else:  # the first byte of each object is a gap that nobody reads
            contents.overwrite(key, good[: ref.start] + spoil(good[ref.start :]))

        delivered = read_until_damage(hub, file)

        assert len(delivered) < len(file.data)
        assert file.data.startswith(delivered)
        assert contents.health_of(ref.content_id) == "damaged"
        contents.overwrite(key, good)
        assert read_all(hub, file) == file.data


def test_objects_that_changed_places_are_noticed(hub: Hub, contents: ContentFactory) -> None:
    first, second = (contents.content(weights(5000, i)) for i in range(2))
    file = contents.file([first, second])
    keys = contents.key_of(first), contents.key_of(second)
    data = [contents.object_bytes(key) for key in keys]
    contents.overwrite(keys[0], data[1])
    contents.overwrite(keys[1], data[0])

    with pytest.raises(Damaged):
        read_all(hub, file)


def test_wrong_frame_under_right_checks_stops_at_the_digest(
    hub: Hub, contents: ContentFactory
) -> None:
    content = contents.content(weights(20 * MIB, 3), "PLANE")
    file = contents.file([content])
    hub.db.run(lambda session: session.execute(update(Content).values(digest=b"\x1e" + bytes(32))))

    assert len(read_until_damage(hub, file)) < len(file.data)


def test_objects_replaced_during_a_download_do_not_break_it(
    hub: Hub, contents: ContentFactory
) -> None:
    data = [weights(3 * MIB, i) for i in range(20)]
    base = contents.content(weights(3 * MIB, 50), "PLANE")
    ids = [contents.content(part) for part in data]
    file = contents.file(ids)
    keys = [contents.key_of(id_) for id_ in ids]
    stream = FileReader(hub, load_plan(hub, file.id)).stream(0, len(file.data))

    got = bytes(next(stream))
    for id_, key in zip(ids, keys, strict=True):
        contents.reencode(id_, "BITX", base)
        hub.store.delete(key)
    got += b"".join(stream)

    assert got == file.data


def test_close_from_another_thread_wakes_a_waiting_stream(
    hub: Hub, contents: ContentFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = mixed_file(contents, [8 * MIB] * 4, ["raw"] * 4)
    reader = FileReader(hub, load_plan(hub, file.id))
    stuck, go_on = threading.Event(), threading.Event()
    read = hub.store.read

    def slow_read(key: str, start: int, stop: int) -> bytes:
        stuck.set()
        go_on.wait()
        return read(key, start, stop)

    monkeypatch.setattr(hub.store, "read", slow_read)
    ended: list[BaseException] = []

    def download() -> None:
        try:
            list(reader.stream(0, len(file.data)))
        except ReaderClosed as error:
            ended.append(error)

    thread = threading.Thread(target=download)
    thread.start()
    stuck.wait()
    reader.close()
    thread.join(timeout=10)
    alive = thread.is_alive()
    go_on.set()

    assert not alive
    assert len(ended) == 1
    assert idle(hub)


def test_abandoned_stream_cancels_its_work(hub: Hub, contents: ContentFactory) -> None:
    file = mixed_file(contents, [30 * MIB], ["raw"])
    stream = FileReader(hub, load_plan(hub, file.id)).stream(0, len(file.data))
    next(stream)

    stream.close()

    assert idle(hub)


def test_many_downloads_share_a_bounded_amount_of_memory(
    hub: Hub, contents: ContentFactory
) -> None:
    file = mixed_file(contents, [64 * MIB], ["raw"])
    plan = load_plan(hub, file.id)
    readers = [FileReader(hub, plan).stream(0, len(file.data)) for _ in range(64)]
    tracemalloc.start()
    try:
        for stream in readers:
            next(stream)
        total = sum(len(part) for stream in readers for part in stream)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert total == 64 * (len(file.data) - MIB)
    assert peak < 450 * MIB
    assert idle(hub)


def test_a_download_that_takes_nothing_has_its_first_item_decoded_and_no_more(
    hub: Hub, contents: ContentFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = mixed_file(contents, [8 * MIB] * 4, ["raw"] * 4)
    plan, pool = load_plan(hub, file.id), shared_pool(hub.settings.restore_threads)
    decoded: list[int] = []
    perform = FileReader._perform

    def counted(reader: FileReader, work: Work) -> list[memoryview]:
        decoded.append(work.nbytes)
        return perform(reader, work)

    monkeypatch.setattr(FileReader, "_perform", counted)
    stalled = [FileReader(hub, plan).stream(0, len(file.data)) for _ in range(20)]
    got = [bytes(next(stream)) for stream in stalled]

    assert read_all(hub, file) == file.data
    assert sum(decoded) == 20 * MIB + len(file.data)
    assert pool.held_nbytes == 20 * MIB

    for stream in stalled[1:]:
        stream.close()
    assert got[0] + b"".join(stalled[0]) == file.data
    assert idle(hub)
