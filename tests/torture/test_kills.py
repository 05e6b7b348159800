"""kill -9 at random moments, again and again, under traffic: nothing acknowledged is lost."""

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.settings import Settings
from tests.torture.budget import Ledger, Summary, budget, piece_s, told
from tests.torture.stack import Nursery, Stack, owe_collection, running_stack
from tests.torture.traffic import Traffic

LONGEST_LIFE_S = 0.8
VICTIMS = [["serve"], ["work"], ["work", "beat"], ["serve", "work", "beat"]]


def kill_again_and_again(stack: Stack, traffic: Traffic, summary: Summary, kills: int) -> None:
    draws, hub = random.Random(summary.seed), stack.open()
    ends = time.monotonic() + piece_s()
    for _ in range(kills):
        if time.monotonic() > ends:
            break
        time.sleep(draws.uniform(0.02, LONGEST_LIFE_S))
        if draws.random() < 0.5:
            owe_collection(hub)
        victims = draws.choice(VICTIMS) if stack.has_workers else stack.roles
        whole = draws.random() < 0.5
        for role in victims:
            stack.kill(role, whole=whole or role != "work")
        for role in victims:
            if role not in stack.pids:
                stack.start(role)
        summary.count("kills")
        summary.count(f"kills of {'+'.join(victims)}")
        traffic.check()
    hub.close()


def torture(stack: Stack, summary: Summary) -> None:
    kills = budget("KILLS", short=20, long=500) - Ledger(summary.attack).totals()["kills"]
    with Traffic(lambda: stack.url, summary, writers=2, readers=2, seed=summary.seed) as traffic:
        kill_again_and_again(stack, traffic, summary, kills)
        while summary.counts.get("reads", 0) < 20:  # they hardly got through between the kills
            traffic.check()
            time.sleep(0.05)
    traffic.check()
    with traffic.reading() as read:
        for place in traffic.acknowledged.items():
            read(*place)
    hub = stack.open()
    stack.settle(hub)
    hub.close()
    summary.count("files acknowledged", len(traffic.acknowledged))


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_embedded_hub(
    nursery: Nursery, embedded_settings: Settings, tmp_path: Path, tell: Callable[[str], None]
):
    with (
        told("kills, embedded", tell) as summary,
        running_stack(nursery, embedded_settings, tmp_path, None) as stack,
    ):
        torture(stack, summary)


@pytest.mark.attacks
@pytest.mark.timeout(0)
def test_production_stack(
    nursery: Nursery,
    production_settings: Settings,
    broker_url: str,
    tmp_path: Path,
    tell: Callable[[str], None],
):
    with (
        told("kills, production", tell) as summary,
        running_stack(nursery, production_settings, tmp_path, broker_url) as stack,
    ):
        torture(stack, summary)
