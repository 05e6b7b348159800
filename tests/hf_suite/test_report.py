"""The report says what happened to every case that was asked for."""

from pathlib import Path

import pytest

from tests.hf_suite.report import read_report
from tests.hf_suite.source import files_of, lists_for, node_ids

JUNIT = """<testsuites><testsuite>
<testcase classname="tests.test_a.TestX" name="test_good"/>
<testcase classname="tests.test_a.TestX" name="test_bad"><failure/></testcase>
<testcase classname="tests.test_b" name="test_left[1-a]"><skipped/></testcase>
<testcase classname="tests.test_b" name="test_torn"/>
<testcase classname="tests.test_b" name="test_torn"><error/></testcase>
<testcase classname="" name="tests.test_c"><error/></testcase>
</testsuite></testsuites>"""


def test_outcomes_by_case(tmp_path: Path):
    junit = tmp_path / "report.xml"
    junit.write_text(JUNIT)
    good = "tests/test_a.py::TestX::test_good"
    report = read_report(junit, [good, "tests/test_a.py::test_gone"])
    assert report.outcomes == {
        good: "passed",
        "tests/test_a.py::TestX::test_bad": "failed",
        "tests/test_b.py::test_left[1-a]": "skipped",
        "tests/test_b.py::test_torn": "failed",
        "tests/test_c.py": "failed",
        "tests/test_a.py::test_gone": "absent",
    }
    assert len(report.failed) == 3
    table = list(report.lines())
    assert table[0].split() == ["passed", "failed", "skipped", "absent"]
    assert table[1].split() == ["tests/test_a.py", "1", "1", "0", "1"]


@pytest.mark.parametrize(("version", "count"), [("2.4.0", 244), ("1.29.0", 248)])
def test_the_lists_name_cases_of_files(version: str, count: int):
    cases = node_ids(*lists_for(version))
    assert len(cases) == len(set(cases)) == count
    assert all(file.startswith("tests/test_") for file in files_of(cases))
