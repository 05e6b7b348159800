"""Run the upstream tests: an environment, a fresh embedded hub, the cases, a report."""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.fixtures.environments import environment_python
from tests.fixtures.server import Server, embedded_server
from tests.hf_suite.accounts import seed_accounts
from tests.hf_suite.report import read_report
from tests.hf_suite.source import files_of, lists_for, node_ids, unpack_tests

HF_XET = "hf-xet==1.8.0"
REQUIREMENTS = [
    *("pytest==9.2.0", "pytest-mock", "pytest-timeout", "jedi", "jinja2", "filelock"),
    *("numpy", "torch==2.13.0", "safetensors"),
]
TIMEOUT_S = 120
SETTINGS = {"CLADE_LIMITS__PATH_BACKSLASHES": "true"}
"""What the cases need of the hub that it does not do by itself."""


def main(arguments: Sequence[str]) -> int:
    """Exit status 1 if a case fails."""
    options, pytest_arguments = _parser().parse_known_args(arguments)
    cases = node_ids(*(options.cases or lists_for(options.version)))
    python = environment_python(
        f"hf-suite-{options.version}-{options.lane}",
        [f"huggingface_hub=={options.version}", HF_XET, *REQUIREMENTS],
        without=["hf-xet"] if options.lane == "lfs" else [],
    )
    with tempfile.TemporaryDirectory(prefix="hf-suite-") as name:
        work = Path(name)
        unpack_tests(options.version, work)
        with embedded_server(work, **SETTINGS) as server:
            seed_accounts(server.data, work / "tests")
            _run_cases(python, work, server, cases, pytest_arguments)
        if options.log is not None:
            options.log.write_bytes((work / "server.log").read_bytes())
        # With a selection, what was not selected is not absent.
        report = read_report(work / "report.xml", [] if pytest_arguments else cases)
    sys.stdout.writelines(f"{line}\n" for line in report.lines())
    return 1 if report.failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.hf_suite", epilog="Other arguments go to pytest, as in -k branch."
    )
    parser.add_argument("--version", default="2.4.0", help="release of huggingface_hub")
    parser.add_argument("--lane", choices=["xet", "lfs"], default="xet", help="lfs: without hf_xet")
    parser.add_argument("--cases", type=Path, nargs=1, help="file of node ids")
    parser.add_argument("--log", type=Path, help="keep the server's log here")
    return parser


def _run_cases(
    python: Path, work: Path, server: Server, cases: Sequence[str], arguments: Sequence[str]
) -> None:
    """Run pytest on the hub as a user without a token would."""
    home = work / "client"
    home.mkdir()
    listed = work / "cases.txt"
    listed.write_text("\n".join(cases))
    env = {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "HF_ENDPOINT": server.url,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "localhost,127.0.0.1",
    }
    command = [
        *(str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--continue-on-collection-errors", "--strict-markers"),
        *("-W", "ignore", "--tb=short", f"--timeout={TIMEOUT_S}", "--junitxml=report.xml"),
        *(f"--cases={listed}", *files_of(cases), *arguments),
    ]
    subprocess.run(command, cwd=work, env=env, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
