import os
from pathlib import Path

import codec
from client.cache import ContentCache
from client.pulled import PulledFiles

DATA = bytes(range(256)) * 40


def digest_of(number: int) -> bytes:
    return bytes([number]) * 32


def test_stored_content_is_read_back_in_ranges(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    cache.put(digest_of(1), "raw", memoryview(DATA))
    cache.put(digest_of(2), "ZSTD", memoryview(codec.encode(DATA, dtype="U8", codec="ZSTD")))

    for number in (1, 2):
        read = cache.open(digest_of(number), len(DATA))
        assert read is not None
        assert read(100, 3000) == DATA[100:3000]
    assert cache.open(digest_of(3), 5) is None


def test_content_of_another_length_is_not_used(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path)
    cache.put(digest_of(1), "raw", memoryview(DATA))
    cache.put(digest_of(2), "ZSTD", memoryview(b"not a frame"))

    assert cache.open(digest_of(1), len(DATA) - 1) is None
    assert cache.open(digest_of(2), len(DATA)) is None
    assert not cache.has(digest_of(2))


def test_what_was_not_used_longest_goes_first(tmp_path: Path) -> None:
    cache = ContentCache(tmp_path, limit_nbytes=2500)
    for number in (1, 2):
        cache.put(digest_of(number), "raw", memoryview(DATA[:1000]))
        path = next(tmp_path.rglob(f"{digest_of(number).hex()}.raw"))
        os.utime(path, (number, number))
    cache.open(digest_of(1), 1000)

    cache.put(digest_of(3), "raw", memoryview(DATA[:1000]))

    assert [cache.has(digest_of(number)) for number in (1, 2, 3)] == [True, False, True]


def test_content_is_found_in_a_pulled_file_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(b"head" + DATA)
    pulled = PulledFiles(tmp_path / "cache")
    pulled.add(path, [(digest_of(1), 4, len(DATA)), (digest_of(2), 0, 4)])

    read = pulled.open(digest_of(1), len(DATA))
    assert read is not None
    assert read(10, 20) == DATA[10:20]
    assert not pulled.has(digest_of(2))
    del read

    path.write_bytes(b"head" + DATA + b"!")
    assert not pulled.has(digest_of(1))
    pulled.close()
