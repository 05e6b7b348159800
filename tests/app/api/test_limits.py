"""Every limit is reached over HTTP, and the answer names the setting that bounds it.

Requests are those of the table of routes: each is refused while a setting is too low for it, and
taken again as soon as it is not.
"""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.catalog.git_objects import object_oid
from app.settings import Jobs, Limits, Quotas, Rates, Settings, Timers
from tests.fixtures.asks import ASKS, COMMIT, Ask
from tests.fixtures.packs import commit, push_objects, tree
from tests.fixtures.seeded import SeededHub, seeded_hub
from tests.fixtures.xorbs import build_xorb

BLOB = ("blob", b"pushed\n")
TREE = ("tree", tree(("100644", "a.txt", object_oid(*BLOB))))
HEAD = ("commit", commit(object_oid(*TREE)))
API = "/api/{repo_type:repotype}/{namespace}/{name}"
PAGE = "/{repo_type:typeprefix}{namespace}/{name}"
COMMITS = f"POST {API}/commit/{{revision:quoted}}"
PUSHES = f"POST {PAGE}/git-receive-pack"
XORBS = "POST /cas/{realm}/v1/xorbs/{prefix}/{digest}"
SHARDS = "POST /cas/{realm}/v2/shards"
DISCUSSIONS = f"POST {API}/discussions"
CHUNKED = build_xorb(bytes(range(250)) * 3, chunk_nbytes=300)
LONG = json.dumps({"title": "A thing", "description": "x" * (3 << 20)}).encode()


def push(ref: str) -> bytes:
    """A file, to a branch of its own."""
    return push_objects(BLOB, TREE, HEAD).replace(b"heads/pushed", b"heads/" + ref.encode())


@dataclass(frozen=True)
class Case:
    """A request of the table, and a setting that is too low for it."""

    route: str
    low: int | None
    """None: what is asked is beyond the default, and refused as long as that holds."""
    body: bytes | None = None
    values: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def ask(self) -> Ask:
        return next(each for each in ASKS if each.route == self.route)


CASES = {
    "file_nbytes": Case(f"POST {PAGE}.git/info/lfs/objects/batch", 100),
    "commit_nbytes": Case(COMMITS, 10),
    "commit_line_nbytes": Case(COMMITS, 10),
    "commit_operations": Case(COMMITS, 0),
    "inline_file_nbytes": Case(COMMITS, 2),
    "message_nbytes": Case(COMMITS, 7),
    "json_nbytes": Case(DISCUSSIONS, None, LONG),
    "json_depth": Case(f"POST {API}/preupload/{{revision:quoted}}", 1),
    "preupload_files": Case(f"POST {API}/preupload/{{revision:quoted}}", 0),
    "paths_info": Case(f"POST {API}/paths-info/{{revision:quoted}}", 0),
    "header_nbytes": Case(f"GET {API}/safetensors-metadata/{{path:quotedpath}}", 20),
    "xorb_nbytes": Case(XORBS, 100),
    "xorb_chunks": Case(XORBS, 1, CHUNKED.stored, {"digest": CHUNKED.text}),
    "shard_nbytes": Case(SHARDS, 10),
    "shard_files": Case(SHARDS, 0),
    "git_request_nbytes": Case(f"POST {PAGE}/git-upload-pack", 3),
    "push_nbytes": Case(PUSHES, 10, push("pushe1")),
    "push_objects": Case(PUSHES, 2, push("pushe2")),
    "push_refs": Case(PUSHES, 0, push("pushe3")),
    "tree_files": Case(PUSHES, 0, push("pushe4")),
    "tuning_jobs": Case("POST /v1/fine_tuning/jobs", 0),
    "tuning_file_nbytes": Case("POST /v1/files", 5),
    "http_head_nbytes": Case("GET /api/whoami-v2", None, headers={"X-Long": "x" * 20_000}),
    "url_nbytes": Case(f"GET {API}/refs", None, values={"name": "x" * 9_000}),
    "path_nbytes": Case(COMMITS, 6),
    "path_part_nbytes": Case(COMMITS, 6),
    "path_parts": Case(COMMITS, 0),
    "path_backslashes": Case(COMMITS, None, COMMIT.replace(b"new.txt", rb"new\\txt")),
}

ELSEWHERE = {
    "limits.upload_nbytes_s": "test_pace.py::test_a_client_that_drips_is_given_up",
    "limits.download_nbytes_s": "test_stalled.py::test_who_takes_a_little_now_and_then_is_given_up",
    "limits.header_inline_nbytes": (
        "../formats/test_layout.py::test_long_header_is_parsed_alike_in_a_child_process"
    ),
    "limits.tensors_per_file": (
        "../formats/test_safetensors.py::test_name_rank_and_count_have_limits"
    ),
    "limits.scan_nbytes": "../catalog/test_scanning.py::test_what_is_too_long_is_called_unread",
    "limits.regular_nbytes": "hf/test_preupload.py::test_the_size_decides_how_a_file_is_sent",
    "limits.lfs_multipart_nbytes": "../lfs/test_multipart.py::test_the_size_decides_on_parts",
    "limits.lfs_part_nbytes": "../lfs/test_multipart.py::test_the_size_decides_on_parts",
    "rates.api": "test_rate_limits.py::test_each_rate_is_named_where_it_is_reached",
    "rates.api_anonymous": "test_rate_limits.py::test_each_rate_is_named_where_it_is_reached",
    "rates.resolvers": "test_rate_limits.py::test_each_rate_is_named_where_it_is_reached",
    "rates.resolvers_anonymous": "test_rate_limits.py::test_each_rate_is_named_where_it_is_reached",
    "rates.pages": "test_rate_limits.py::test_each_rate_is_named_where_it_is_reached",
    "rates.pages_anonymous": "test_rate_limits.py::test_each_rate_is_named_where_it_is_reached",
    "rates.failures": "test_rate_limits.py::test_nobody_guesses_tokens_for_long",
    "rates.in_flight": "test_rate_limits.py::test_transfers_of_a_kind_are_bounded_at_once",
    "rates.uploads": "test_rate_limits.py::test_transfers_of_a_kind_are_bounded_at_once",
    "rates.downloads": "test_rate_limits.py::test_transfers_of_a_kind_are_bounded_at_once",
    "timers.intent_s": "../gc/test_collect.py::test_abandoned_upload_goes_after_its_intent_expired",
    "timers.lease_s": (
        "../gc/test_collect.py::test_uploaded_file_waits_for_its_commit_as_long_as_its_lease"
    ),
    "timers.condemn_s": "../gc/test_collect.py::test_an_ordinary_run_takes_a_tenth_at_most",
    "timers.kill_s": "../gc/test_collect.py::test_an_ordinary_run_takes_a_tenth_at_most",
    "timers.replaced_s": (
        "../contents/test_objects.py"
        "::test_object_without_references_retires_and_stays_readable_for_the_grace_period"
    ),
    "timers.plan_s": "../restore/test_plan.py::test_plan_is_renewed_when_it_is_old",
    "timers.presign_s": "test_plans.py::test_url_that_is_not_ours_or_too_old_opens_nothing",
    "timers.head_s": "test_protocol.py::test_who_says_nothing_or_never_ends_a_head_is_given_up",
    "timers.upload_idle_s": "test_pace.py::test_silence_ends_a_body",
    "timers.download_idle_s": "test_stalled.py::test_who_takes_nothing_is_given_up",
    "timers.upload_url_s": "hf/test_lfs.py::test_expired_link_is_refused",
    "timers.unknown_s": (
        "../gc/test_sweeping.py::test_unknown_object_goes_after_a_week_and_not_before"
    ),
    "timers.xorb_s": (
        "../xet/test_register.py::test_stale_xorbs_are_forgotten_and_named_ones_remembered"
    ),
    "timers.scrub_s": "../gc/test_scrub.py::test_objects_are_read_when_their_period_is_over",
    "timers.job_lease_s": (
        "../jobs/test_runner.py::test_killed_runner_s_job_is_finished_by_another"
    ),
    "timers.tuning_lease_s": (
        "../tuning/test_leasing.py::test_who_wakes_up_when_the_job_is_anothers_writes_nothing"
    ),
    "jobs.max_attempts": (
        "../jobs/test_runner.py::test_failure_waits_longer_each_time_then_gives_up"
    ),
    "jobs.finished_kept_s": "../jobs/test_pruning.py::test_only_jobs_done_long_ago_are_forgotten",
    "jobs.scrub_nbytes": "../gc/test_scrub.py::test_budget_ends_a_run_and_the_next_goes_on",
    "jobs.optimise_nbytes": (
        "../deltas/test_optimise.py::test_an_hour_has_a_budget_and_the_next_goes_on"
    ),
    "jobs.optimise_cpu_s": "../deltas/test_optimise.py::test_no_budget_is_no_work",
    **{
        f"quotas.{name}": "../accounts/test_quotas.py::test_the_defaults_bound_who_has_no_quota"
        for name in Quotas.model_fields
    },
}
"""Of what is no matter of one request, or refuses nothing: the test that reaches it."""

NO_BOUNDS = {
    *("rates.window_s", "rates.redis_url"),
    *("jobs.threads", "jobs.broker_url", "jobs.sweep_s"),
}


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: bytes) -> Iterator[SeededHub]:
    data = tmp_path_factory.mktemp("limits")
    (data / "hub.sqlite").write_bytes(migrated_sqlite)
    with seeded_hub(Settings(data=data), data) as hub:
        yield hub


@pytest.mark.parametrize("name", sorted(Limits.model_fields.keys() & CASES.keys()))
def test_a_request_beyond_a_limit_is_told_its_name(name: str, seeded: SeededHub):
    case, hub = CASES[name], seeded.live.hub
    whole = hub.settings

    def send() -> httpx.Response:
        ask = case.ask
        body = seeded.body_of(ask) if case.body is None else case.body
        url, headers = seeded.head(ask, None, case.values)
        headers |= case.headers
        return seeded.client.request(ask.method, url, content=body, headers=headers)

    if case.low is not None:
        few: dict[str, Any] = {name: case.low}
        limits = whole.limits.model_copy(update=few)
        hub.settings = whole.model_copy(update={"limits": limits})
    try:
        answer = send()
    finally:
        hub.settings = whole
    assert f"limits.{name}" in answer.text
    assert answer.status_code < 500
    if case.low is not None:
        answer = send()
        assert answer.is_success, answer.text
        assert f"limits.{name}" not in answer.text


def test_no_bound_goes_without_a_test_that_reaches_it():
    groups = {
        "limits": Limits,
        "rates": Rates,
        "quotas": Quotas,
        "timers": Timers,
        "jobs": Jobs,
    }
    bounds = {f"{group}.{name}" for group, model in groups.items() for name in model.model_fields}
    reached = {f"limits.{name}" for name in CASES} | ELSEWHERE.keys()
    assert reached == bounds - NO_BOUNDS


@pytest.mark.parametrize("bound", sorted(ELSEWHERE))
def test_tests_elsewhere_exist_and_speak_of_the_bound(bound: str):
    place, _, wanted = ELSEWHERE[bound].partition("::")
    source = (Path(__file__).parent / place).read_text(encoding="utf-8")
    [test] = [
        each
        for each in ast.walk(ast.parse(source))
        if isinstance(each, ast.FunctionDef) and each.name == wanted
    ]
    first = min(each.lineno for each in (test, *test.decorator_list))
    text = "\n".join(source.splitlines()[first - 1 : test.end_lineno])
    assert bound.partition(".")[2] in text
