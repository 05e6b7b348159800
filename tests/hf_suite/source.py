"""The upstream tests: fetched with pip, unpacked, made to run by our fixtures."""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
TIER_A = HERE / "tier_a.txt"
TIER_A_1 = HERE / "tier_a_1.txt"
"""What the suites of 1.x releases have beside :data:`TIER_A`."""


def unpack_tests(version: str, into: Path) -> None:
    """Put the tests of a release of huggingface_hub into ``into/tests``."""
    command = [
        *(sys.executable, "-m", "pip", "download", "-q", "--no-deps"),
        *("--no-binary", ":all:", "--dest", str(into), f"huggingface_hub=={version}"),
    ]
    subprocess.run(command, check=True)
    (archive,) = into.glob("huggingface_hub-*.tar.gz")
    with tarfile.open(archive) as sdist:
        sdist.extractall(into, filter="data")
    unpacked = into / archive.name.removesuffix(".tar.gz")
    shutil.move(unpacked / "tests", into / "tests")
    # The installed package is tested, not this copy.
    shutil.rmtree(unpacked)
    (into / "tests" / "__init__.py").touch()
    shutil.copy(HERE / "suite_conftest.py", into / "tests" / "conftest.py")
    shutil.copytree(HERE / "cards", into / "tests" / "fixtures" / "cards")
    (into / "pytest.ini").write_text("[pytest]\n")


def lists_for(version: str) -> list[Path]:
    """The files of node ids that a release of huggingface_hub is judged by."""
    return [TIER_A, TIER_A_1] if version.startswith("1.") else [TIER_A]


def node_ids(*lists: Path) -> list[str]:
    """The node ids in these files, one per line; comments begin with #."""
    lines = [line for listed in lists for line in listed.read_text().splitlines()]
    return [line for line in lines if line and line[0] != "#"]


def files_of(cases: Sequence[str]) -> list[str]:
    """The files that node ids name."""
    return sorted({case.partition("::")[0] for case in cases})
