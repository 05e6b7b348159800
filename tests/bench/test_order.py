"""Any order of upload ends at about the same size: the short form of ``bench.order``."""

from pathlib import Path

import pytest

from bench.families import FAMILIES
from bench.order import MOST_SPREAD, orders_of, run, spread

pytestmark = pytest.mark.long


@pytest.mark.parametrize("family", ["chain", "vocabulary"])
def test_orders_end_within_the_promised_spread(tmp_path: Path, family: str) -> None:
    outcomes = run(family, FAMILIES[family](), 3, 5, tmp_path)
    assert len({each.order for each in outcomes}) == 3
    assert spread([each.after for each in outcomes]) <= MOST_SPREAD, outcomes
    assert all(each.after <= each.before for each in outcomes)


def test_orders_are_different_and_the_same_each_time() -> None:
    assert len(orders_of("ab", 5, 1)) == 2
    orders = orders_of("abcde", 6, 1)
    assert orders[:2] == [tuple("abcde"), tuple("edcba")]
    assert len(set(orders)) == 6
    assert orders == orders_of("abcde", 6, 1)
