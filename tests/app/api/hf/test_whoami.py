"""Logging in and asking who one is, with the stock client."""

from tests.fixtures.api import LiveHub


def test_whoami_names_user_organisations_and_token_role(live_hub: LiveHub):
    facts = live_hub.api().whoami()
    assert (facts["type"], facts["name"], facts["email"]) == ("user", "alice", "alice@example.org")
    assert [(org["name"], org["roleInOrg"]) for org in facts["orgs"]] == [("acme", "admin")]
    assert facts["auth"]["accessToken"]["role"] == "write"


def test_whoami_refuses_a_bad_token(live_hub: LiveHub):
    answer = live_hub.http("hf_wrong").get("/api/whoami-v2")
    assert answer.status_code == 401
    assert answer.headers["X-Error-Message"] == "Invalid credentials in Authorization header"


def test_whoami_accepts_basic_credentials(live_hub: LiveHub):
    answer = live_hub.http(None).get("/api/whoami-v2", auth=("alice", live_hub.alice))
    assert answer.json()["name"] == "alice"
