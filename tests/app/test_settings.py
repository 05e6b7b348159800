from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings


def test_defaults_keep_everything_in_the_data_directory(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)

    assert settings.resolved_database_url == f"sqlite:///{tmp_path}/hub.sqlite"
    assert settings.resolved_store_url == f"file://{tmp_path}/objects"


def test_environment_sets_nested_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLADE_LIMITS__COMMIT_OPERATIONS", "7")

    assert Settings().limits.commit_operations == 7


def test_bad_value_stops_the_start_with_the_name_of_the_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLADE_TIMERS__LEASE_S", "soon")

    with pytest.raises(ValidationError, match=r"timers\.lease_s"):
        Settings()


def test_unknown_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLADE_DATABSE_URL", "postgresql://db/clade")

    with pytest.raises(ValidationError, match=r"did you mean CLADE_DATABASE_URL\?"):
        Settings()


def test_secrets_do_not_show(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, database_url="postgresql://clade:geheim@db/clade")

    assert "geheim" not in repr(settings)
