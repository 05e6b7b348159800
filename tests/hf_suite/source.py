"""The upstream tests: fetched with pip, unpacked, made to run by our fixtures."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).parent
TIER_A = HERE / "tier_a.txt"


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


def node_ids(listed: Path) -> list[str]:
    """The node ids in a file, one per line; comments begin with #."""
    return [line for line in listed.read_text().splitlines() if line and line[0] != "#"]


def files_of(cases: list[str]) -> list[str]:
    """The files that node ids name."""
    return sorted({case.partition("::")[0] for case in cases})
