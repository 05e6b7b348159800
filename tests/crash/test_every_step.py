"""A process dies after every step that there is; nothing acknowledged is lost, and work goes on."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.settings import Settings
from tests.crash.mirroring import upstream_of
from tests.crash.stage import Act, Stage, small_parts
from tests.crash.steps import sites
from tests.crash.story import ACTS, DAMAGE

pytestmark = pytest.mark.long


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "mode", ["embedded", pytest.param("production", marks=pytest.mark.attacks)]
)
def test_death_after_every_step(
    request: pytest.FixtureRequest, mode: str, tmp_path: Path, migrated_sqlite: bytes
):
    settings = small_parts(request.getfixturevalue(f"{mode}_settings"))
    with upstream_of(settings, tmp_path / "upstream", migrated_sqlite) as (settings, mirroring):
        play(settings, [*ACTS, *mirroring, *DAMAGE])


def play(settings: Settings, acts: Sequence[tuple[str, Act]]) -> None:
    """Each act until it gets through, dying once after every step."""
    seen: set[str] = set()

    def first_time(step: str) -> bool:
        is_new = step not in seen
        seen.add(step)
        return is_new

    stage = Stage(settings, dies=first_time)
    for _name, act in acts:
        stage.play(act)
    stage.dies = lambda _step: False
    stage.finish()
    stage.hub.close()
    assert sorted(stage.deaths) == sorted(seen)
    reached = {step.rpartition(":")[0].rpartition(">")[2] for step in stage.deaths}
    missing = sorted(sites() - reached)
    assert not missing, "no crash test dies here:\n" + "\n".join(missing)
