"""Licences are judged as the Hub does: by a list of names."""

import pytest

from app.formats.licenses import LICENSES, license_fault


@pytest.mark.parametrize("declared", ["mit", "Apache-2.0", ["mit", "other"], "openrail++"])
def test_known_licences_pass(declared):
    assert license_fault(declared) is None


@pytest.mark.parametrize("declared", ["asdf", "", ["mit", "asdf"], 3, {"mit": 1}, [None]])
def test_others_are_named_with_what_is_allowed(declared):
    fault = license_fault(declared)
    assert fault is not None
    assert fault.startswith('"license" must be one of')
    assert "apache-2.0" in fault


def test_the_list_is_of_lower_case_names():
    assert all(name == name.lower() for name in LICENSES)
    assert len(LICENSES) > 70
