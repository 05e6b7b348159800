"""A hostile request or two for every route; `make fuzz` sends thousands, to each database."""

from bench.fuzz_routes import fuzz
from tests.fixtures.asks import ASKS


def test_no_request_breaks_the_hub():
    outcomes = fuzz("sqlite", 2, 2 * len(ASKS))
    statuses = {status for counts in outcomes.values() for status in counts}
    assert {200, 400, 401, 404, 422} <= statuses
    assert sum(sum(counts.values()) for counts in outcomes.values()) == 2 * len(ASKS)
