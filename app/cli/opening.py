"""The hub that a command works on: its settings, and itself opened and closed."""

from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

from app.settings import Settings

if TYPE_CHECKING:
    from app.hub import Hub


def settings_of(data: Path | None) -> Settings:
    """Settings from the environment, the data directory from the command line if given."""
    return Settings(data=data) if data is not None else Settings()  # pyright: ignore[reportCallIssue]


def opened(data: Path | None, *, new: bool = False) -> "AbstractContextManager[Hub]":
    """The hub, closed when left; one that does not exist is made only if ``new``.

    Raises:
        NotFound: there is no hub at that place.
    """
    from app.errors import NotFound
    from app.hub import open_hub
    from app.log import configure_logging

    settings = settings_of(data)
    if not (new or hub_exists(settings)):
        raise NotFound(
            f"there is no hub in {settings.data}; name its directory with --data, or start one "
            f"with `clade serve --data {settings.data}`"
        )
    if "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "WARNING"})
    configure_logging(settings)
    return closing(open_hub(settings))


def hub_exists(settings: Settings) -> bool:
    """Whether an embedded database was made; what a database server holds shows on opening."""
    url = settings.resolved_database_url
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()
