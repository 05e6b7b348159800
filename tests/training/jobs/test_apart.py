"""The process beside: what goes wrong in it is told, and it is started again."""

from pathlib import Path

import pytest

from tests.fixtures.training import Workshop
from training.jobs.apart import Apart

pytestmark = pytest.mark.long


def test_faults_are_told_and_the_next_question_is_answered(tmp_path: Path) -> None:
    apart, base = Apart("auto"), Workshop(tmp_path).base()
    with pytest.raises(OSError, match="nowhere"):
        apart.answers(tmp_path / "nowhere")
    said = apart.answers(base)
    assert len(said) == len(set(said)) == 3
    process = apart._process
    assert process is not None
    process.kill()
    process.wait()
    with pytest.raises(OSError, match="ended with status"):
        apart.answers(base)
    assert apart.answers(base) == said
    apart.close()
