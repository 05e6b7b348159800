"""URLs open the store that they name."""

from pathlib import Path

import pytest

from app.settings import Settings
from app.store.factory import open_store
from app.store.s3_location import S3Location


@pytest.mark.parametrize("name", ["plain", "with space", "per%cent", "hash#mark?"])
def test_default_store_of_any_data_directory(tmp_path: Path, name: str):
    settings = Settings(data=tmp_path / name)
    store = open_store(settings.resolved_store_url)
    store.put("o/a", [b"x"])
    assert (tmp_path / name / "objects/o/a").read_bytes() == b"x"


def test_memory_stores_are_separate():
    one, other = open_store("memory://"), open_store("memory://")
    one.put("o/a", [b"x"])
    assert other.stat("o/a") is None


@pytest.mark.parametrize(
    "url", ["", "/dir", "file://", "file://host/dir", "s3://", "s3:///key", "s3://b?x=1", "ftp://b"]
)
def test_other_urls_are_refused(url: str):
    with pytest.raises(ValueError, match="URL"):
        open_store(url)


def test_s3_location_has_all_parts():
    url = "s3://bucket/a/b/?endpoint=http://h:1&public_endpoint=https://p&region=eu-1"
    assert S3Location.parse(url) == S3Location("bucket", "a/b/", "http://h:1", "https://p", "eu-1")
    assert S3Location.parse("s3://bucket") == S3Location("bucket")
