"""Shadowed requests and an A/B test through the whole platform, with the two real detectors."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from typer.testing import CliRunner

from headrace.catalog import Endpoint
from headrace.declaration.compile import compile_catalog
from headrace.declaration.files import read_declarations
from headrace.rollouts.copies import PREFIX, standing_subject
from headrace.rollouts.counted import Counted, add_up
from headrace.rollouts.shadowing import SHADOW, SHADOWED
from headrace.routing import changes
from headrace.routing.document import Routing, Shadow
from headrace_aws.experiments_table import ExperimentsTable
from headrace_aws.routing_table import RoutingTable
from headrace_aws.state_table import StateTable
from headrace_aws.tallies_table import TalliesTable
from headrace_cli.main import app
from infra_local.names import Names
from infra_local.state import State, state_path, write_private, write_state
from tests.integration.models.conftest import REPOSITORY
from tests.integration.models.test_detection import get
from tests.integration.whole_platform.conftest import ROOT, Answer, Platform

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(300)]

BY: dict[str, Any] = {"who": "the test", "why": "to compare", "at": 0.0}
PATIENCE_S = 90.0
REQUESTS = 12
CALLERS = 24
T = TypeVar("T")


@pytest.fixture(scope="module")
def endpoint() -> Endpoint:
    """The detector, as declared."""
    declared = next(each for each in read_declarations(ROOT / "endpoints") if each.name == "detection")
    return compile_catalog([declared], {}).endpoint("detection")


@pytest.fixture
def table(platform: Platform) -> StateTable:
    """The state table, as an operator's commands see it."""
    return StateTable(Names().state_table, timeout_s=PATIENCE_S, make_client=partial(platform.client, "dynamodb"))


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A photo with a motorbike, from a pinned package."""
    return get("motorcycle_left.png", Path(REPOSITORY) / ".headrace" / "downloads")


def detect(platform: Platform, photo: bytes, caller: str) -> Answer:
    """One photo, past the cache."""
    return platform.send(
        "POST",
        "/v1/detections",
        photo,
        content_type="image/png",
        cache_control="no-store",
        x_request_timeout_ms="15000",
        x_headrace_sticky_key=caller,
    )


def wait_for(look: Callable[[], T], fits: Callable[[T], bool]) -> T:
    """What is seen once it fits."""
    limit = time.monotonic() + PATIENCE_S
    while True:
        seen = look()
        if fits(seen) or time.monotonic() > limit:
            assert fits(seen), seen
            return seen
        time.sleep(0.3)


def in_force(platform: Platform, version: int) -> None:
    """Wait until all processes hold the document: what is promised of a change, and a little more."""
    said = {"model": "detection"}
    wait_for(lambda: platform.send("POST", "/v1/route", said).json()["routing"]["document"], lambda now: now >= version)
    time.sleep(20.0)


def test_shadowed_answers_are_compared(healthy: Platform, table: StateTable, endpoint: Endpoint, photo: bytes) -> None:
    """Callers are served by v1 alone; what v2 would have said is compared afterwards, and every copy is removed."""
    routings, tallies = RoutingTable(table), TalliesTable(table, wall=time.time)
    standing = routings.read("detection", consistent=True) or changes.of_declaration(endpoint)
    same: dict[str, Any] = {"sticky": standing.sticky, "groups": standing.groups, "pins": standing.pins}
    shadowing = changes.replaced(standing, weights={"v1": 10_000}, shadow=Shadow("v2", 10_000), **same, **BY)
    routings.put(shadowing)
    subject = standing_subject("detection", "v2")

    def arms() -> tuple[Counted, Counted]:
        counts = tallies.read(subject)
        shadow, shadowed = (
            add_up(counted for (_, arm), counted in counts.items() if arm == name) for name in (SHADOW, SHADOWED)
        )
        return shadow, shadowed

    try:
        in_force(healthy, shadowing.version)
        answers = [detect(healthy, photo, f"s{number}") for number in range(REQUESTS)]
        assert {answer.status for answer in answers} == {200}
        assert {answer.headers["x-headrace-served-by"] for answer in answers} == {"detection/v1"}
        # Copies may be dropped while others are under way; some of a dozen, one after the other, are not.
        shadow, shadowed = wait_for(arms, lambda seen: seen[0].requests >= REQUESTS // 2)
        assert shadowed.requests == shadow.requests
        assert shadow.trials("disagreed") == shadow.requests
        assert shadow.count("disagreed") == 0
        assert sum(shadow.times.values()) == sum(shadowed.times.values()) == shadow.requests
        objects = healthy.client("s3")
        wait_for(
            lambda: objects.list_objects_v2(Bucket=Names().jobs_bucket, Prefix=PREFIX).get("KeyCount", 0),
            lambda left: left == 0,
        )
        log = (healthy.logs / f"lambda-{Names().shadow}.log").read_text(encoding="utf-8", errors="replace")
        assert "agreed" in log
        assert "motor" not in log
    finally:
        routings.put(changes.restored(shadowing, changes.of_declaration(endpoint), **BY))


def test_an_experiment_shows_the_difference(
    healthy: Platform, table: StateTable, photo: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Callers stay with their arm, post what came of it, and the operator sees the difference with its interval."""
    routings, experiments = RoutingTable(table), ExperimentsTable(table)
    command = commands(healthy, tmp_path, monkeypatch)
    experiment_id = command(
        *("start", "detection", "sharper", "--arm", "control=v1", "--arm", "new=v2", "--outcome", "kept"),
        *("--why", "is v2 worth its time?", "--min", "1h", "--max", "1d", "--look", "2s"),
    ).strip()
    version = (routings.read("detection", consistent=True) or Routing(endpoint="", weights={})).version
    in_force(healthy, version)
    arms: dict[str, list[str]] = {"detection/v1": [], "detection/v2": []}
    for number in range(CALLERS):
        served = [detect(healthy, photo, f"x{number}") for _ in range(2)]
        assert {answer.status for answer in served} == {200}
        # The ladder may serve one of them on a busy machine; its token is of the arm that was drawn all the same.
        arms[served[0].headers["x-headrace-served-by"]].append(served[0].headers["x-headrace-outcome-token"])
        if number % 3 == 0:
            again = {answer.headers["x-headrace-served-by"] for answer in served}
            assert len(again) == 1 or any("x-headrace-degraded" in answer.headers for answer in served)
    assert all(arms.values())
    for token in arms["detection/v2"]:
        for _ in range(2):  # told twice, counted once
            assert healthy.send("POST", "/v1/outcomes", {"token": token, "name": "kept"}).status == 202

    def status() -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(command("status", "detection", "sharper", "--json"))
        return shown

    expected = len(arms["detection/v2"])
    seen = wait_for(status, lambda shown: sum(arm["outcomes"] for arm in shown["arms"]) >= expected)
    control, new = seen["arms"]
    assert (control["arm"], new["arm"]) == ("control", "new")
    assert control["callers"] + new["callers"] == CALLERS
    assert (control["outcomes"], new["outcomes"]) == (0, expected)
    assert new["difference"]["low"] <= new["difference"]["estimate"] <= new["difference"]["high"]
    assert new["difference"]["estimate"] == pytest.approx(expected / new["callers"])
    looked = wait_for(
        lambda: experiments.current("detection", "sharper"), lambda run: run is not None and run.turns > 1
    )
    assert looked is not None
    assert (looked.experiment_id, looked.state) == (experiment_id, "running")

    assert command("stop", "detection", "sharper", "--why", "seen enough").strip() == f"{experiment_id}: ended"
    after = routings.read("detection", consistent=True)
    assert after is not None
    assert after.experiments == ()


def commands(platform: Platform, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """`headrace experiment`, run where a state file leads to the platform, as `make run` writes one."""
    run = folder / ".headrace"
    key = state_path(run).parent / "api-key"
    write_private(key, platform.stack.api_key + "\n")
    write_state(
        run,
        State(
            pid=os.getpid(),
            url=platform.stack.url,
            admin_url="http://127.0.0.1:9",
            admin_token="none",
            api_key_file=str(key),
            environment=platform.stack.environment(),
        ),
    )
    monkeypatch.chdir(folder)

    def command(*words: str) -> str:
        done = CliRunner().invoke(app, ["experiment", *words, "--endpoints", str(ROOT / "endpoints")])
        assert done.exit_code == 0, done.output
        return done.stdout

    return command
