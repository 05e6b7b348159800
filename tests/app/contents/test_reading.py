from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from app.contents.reading import (
    EncodingRef,
    load_object_ranges,
    load_refs,
    read_content,
    read_stored,
    read_whole,
)
from app.errors import Damaged
from app.hub import Hub
from tests.fixtures.contents import ContentFactory

MIB = 1 << 20
serial = count()


def weights(nbytes: int, seed: int = 0) -> bytes:
    """Bytes that look like BF16 weights."""
    values = np.random.default_rng(seed).normal(0, 0.02, nbytes // 2 + 1).astype(np.float32)
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()[:nbytes]


def nearby(data: bytes, seed: int = 1) -> bytes:
    """The same weights after a little training."""
    words = np.frombuffer(data[: len(data) // 2 * 2], np.uint16)
    drift = np.random.default_rng(seed).integers(-2, 3, words.size)
    return (words + drift).astype(np.uint16).tobytes() + data[words.size * 2 :]


def ref_of(hub: Hub, content_id: int) -> EncodingRef:
    with hub.db.read() as session:
        return load_refs(session, [content_id])[content_id]


@pytest.fixture
def queries(hub: Hub) -> list[str]:
    """SELECTs sent to the database."""
    seen: list[str] = []

    def note(_c, _cursor, statement: str, *_rest) -> None:
        if statement.startswith("SELECT"):
            seen.append(statement)

    event.listen(hub.db.engine, "before_cursor_execute", note)
    return seen


class TestLoadRefs:
    def test_takes_two_queries_however_many_contents(
        self, hub: Hub, contents: ContentFactory, queries: list[str]
    ) -> None:
        bases = contents.contents([(weights(64, i), "PLANE", None) for i in range(20)])
        deltas = contents.contents(
            [(weights(64, 100 + i), "BITX", base) for i, base in enumerate(bases)]
        )
        queries.clear()

        with hub.db.read() as session:
            refs = load_refs(session, deltas)

        assert len(queries) == 2
        assert [refs[id_].base and refs[id_].base.content_id for id_ in deltas] == bases

    def test_leaves_out_what_does_not_exist(self, hub: Hub, contents: ContentFactory) -> None:
        known = contents.content(b"known")

        with hub.db.read() as session:
            assert set(load_refs(session, [known, known + 1])) == {known}


class TestReadStored:
    def test_any_range_equals_the_slice(self, hub: Hub, contents: ContentFactory) -> None:
        data = weights(3 * MIB + 17)
        ref = ref_of(hub, contents.contents([(b"before", "raw", None), (data, "raw", None)])[1])

        for start, stop in ((0, 1), (MIB - 1, MIB + 1), (5, 3 * MIB + 17), (MIB, 2 * MIB), (7, 7)):
            assert read_stored(hub, ref, start, stop) == data[start:stop]

    @pytest.mark.parametrize("at", [0, MIB, 2 * MIB + 5])
    def test_flipped_bit_is_damage_and_marks_the_content(
        self, hub: Hub, contents: ContentFactory, at: int
    ) -> None:
        content = contents.content(weights(2 * MIB + 6))
        ref = ref_of(hub, content)
        rotten = bytearray(contents.object_bytes(ref.key))
        rotten[at] ^= 4
        contents.overwrite(ref.key, bytes(rotten))

        with pytest.raises(Damaged):
            read_stored(hub, ref, at, at + 1)

        assert contents.health_of(content) == "damaged"

    def test_damage_elsewhere_does_not_matter(self, hub: Hub, contents: ContentFactory) -> None:
        data = weights(3 * MIB)
        ref = ref_of(hub, contents.content(data))
        contents.overwrite(ref.key, data[: 2 * MIB] + bytes(MIB))

        assert read_stored(hub, ref, 5, MIB + 5) == data[5 : MIB + 5]

    def test_truncated_object_is_damage_not_weather(
        self, hub: Hub, contents: ContentFactory
    ) -> None:
        ref = ref_of(hub, contents.content(weights(MIB)))
        contents.overwrite(ref.key, contents.object_bytes(ref.key)[:-1])

        with pytest.raises(Damaged):
            read_stored(hub, ref, 0, 10)


class TestReadContent:
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(data=st.data())
    def test_random_range_of_any_codec_equals_the_slice(
        self, hub: Hub, contents: ContentFactory, data: st.DataObject
    ) -> None:
        unique = f"{next(serial):08}".encode()
        raw = unique + weights(data.draw(st.integers(1, 40_000)), data.draw(st.integers(0, 99)))
        codec = data.draw(st.sampled_from(["raw", "RAW", "ZSTD", "PLANE", "BITX"]))
        base = None
        if codec == "BITX":
            base = contents.content(nearby(raw) + b"\0", "PLANE")
        content = contents.contents([(raw, codec, base)], gap=3, block_log2=12)[0]
        start = data.draw(st.integers(0, len(raw)))
        stop = data.draw(st.integers(start, len(raw)))

        assert read_content(hub, ref_of(hub, content), start, stop) == raw[start:stop]

    def test_reads_only_the_blocks_touched(self, hub: Hub, contents: ContentFactory) -> None:
        data = weights(6 * MIB, 9)
        base = contents.content(weights(6 * MIB), "PLANE")
        ref = ref_of(hub, contents.content(data, "BITX", base))
        for key in (ref.key, contents.key_of(base)):
            stored = contents.object_bytes(key)
            contents.overwrite(key, stored[: 3 * MIB] + bytes(len(stored) - 3 * MIB))

        assert read_content(hub, ref, MIB + 3, MIB + 9) == data[MIB + 3 : MIB + 9]

    def test_follows_a_content_to_its_new_encoding(
        self, hub: Hub, contents: ContentFactory
    ) -> None:
        data = weights(100_000)
        content = contents.content(data)
        stale = ref_of(hub, content)
        contents.reencode(content, "PLANE")
        hub.store.delete(stale.key)

        assert read_content(hub, stale, 10, 99_000) == data[10:99_000]
        assert contents.health_of(content) == "ok"

    def test_damage_to_a_former_encoding_is_not_damage_to_the_content(
        self, hub: Hub, contents: ContentFactory
    ) -> None:
        data = weights(100_000)
        content = contents.content(data)
        stale = ref_of(hub, content)
        contents.reencode(content, "PLANE")
        contents.overwrite(stale.key, bytes(len(data)))

        assert read_content(hub, stale, 0, 100_000) == data
        assert contents.health_of(content) == "ok"

    @pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: bytes(len(data)), None])
    def test_former_encoding_stands_in_for_a_damaged_one(
        self, hub: Hub, contents: ContentFactory, spoil: Callable[[bytes], bytes] | None
    ) -> None:
        data = weights(100_000)
        content = contents.content(data)
        contents.reencode(content, "PLANE")
        ref = ref_of(hub, content)
        if spoil is None:
            hub.store.delete(ref.key)
        else:
            contents.overwrite(ref.key, spoil(contents.object_bytes(ref.key)))

        assert read_content(hub, ref, 5, 50_000) == data[5:50_000]
        assert contents.health_of(content) == "damaged"

    def test_missing_object_without_a_spare_is_damage(
        self, hub: Hub, contents: ContentFactory
    ) -> None:
        content = contents.content(weights(1000), "PLANE")
        ref = ref_of(hub, content)
        hub.store.delete(ref.key)

        with pytest.raises(Damaged):
            read_content(hub, ref, 0, 1000)

        assert contents.health_of(content) == "damaged"

    def test_damaged_base_is_what_gets_marked(self, hub: Hub, contents: ContentFactory) -> None:
        data = weights(100_000)
        base = contents.content(nearby(data), "PLANE")
        content = contents.content(data, "BITX", base)
        contents.overwrite(contents.key_of(base), bytes(10))

        with pytest.raises(Damaged):
            read_content(hub, ref_of(hub, content), 0, 100_000)

        assert contents.health_of(base) == "damaged"
        assert contents.health_of(content) == "ok"


class TestReadWhole:
    def test_many_small_contents_cost_one_request_per_object(
        self, hub: Hub, contents: ContentFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base_data = [weights(3000, i) for i in range(30)]
        bases = contents.contents([(data, "PLANE", None) for data in base_data], gap=5)
        data = [nearby(below, 7) for below in base_data]
        ids = contents.contents(
            [(raw, "BITX", base) for raw, base in zip(data, bases, strict=True)]
        )
        reads = []
        read = hub.store.read
        monkeypatch.setattr(
            hub.store, "read", lambda *where: reads.append(where[0]) or read(*where)
        )

        got = read_whole(hub, [ref_of(hub, id_) for id_ in ids])

        assert [bytes(view) for view in got] == data
        assert sorted(reads) == sorted([contents.key_of(ids[0]), contents.key_of(bases[0])])

    def test_wrong_bytes_under_right_checks_are_noticed(
        self, hub: Hub, contents: ContentFactory
    ) -> None:
        content, other = contents.contents([(b"a" * 64, "raw", None), (b"b" * 64, "raw", None)])
        refs = ref_of(hub, content), ref_of(hub, other)
        swapped = EncodingRef(
            content_id=content,
            digest=refs[0].digest,
            nbytes=64,
            codec="raw",
            base=None,
            object_id=refs[1].object_id,
            key=refs[1].key,
            start=refs[1].start,
            stored_nbytes=64,
            checks=refs[1].checks,
            domain=refs[1].domain,
        )

        with pytest.raises(Damaged):
            read_whole(hub, [swapped])


def test_object_ranges_name_present_and_former_encodings(
    hub: Hub, contents: ContentFactory
) -> None:
    first, second = contents.contents([(b"a" * 10, "raw", None), (b"b" * 10, "raw", None)])
    former = ref_of(hub, first)
    contents.reencode(first, "RAW")

    with hub.db.read() as session:
        found = load_object_ranges(session, former.object_id, 9, 20)

    assert [(part.content_id, part.start, part.stored_nbytes) for part in found] == [
        (first, 0, 10),
        (second, 10, 10),
    ]
