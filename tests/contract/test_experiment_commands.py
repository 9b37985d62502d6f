"""`headrace experiment` over the real adapters and an account in memory: what it says, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner, Result

from headrace.rollouts.copies import standing_subject
from headrace.rollouts.counted import Counted, Values
from headrace.rollouts.shadowing import SHADOW, SHADOWED
from headrace.routing import changes
from headrace.routing.document import Shadow
from headrace_cli.main import app
from headrace_cli.operating import Operator
from headrace_cli.rolling import Stores, open_stores
from headrace_cli.world import World
from tests.contract.conftest import make_state_table
from tests.integration.local.toy_endpoint import write_toy_endpoint
from tests.unit.cli.conftest import no_keyring

START = (
    *("start", "toy", "sharper", "--arm", "control=v1", "--arm", "new=v2"),
    *("--outcome", "kept", "--why", "is it worth its time?"),
)
REFUSED = (
    (("start", "toys", *START[2:]), 2, "No endpoint 'toys'"),
    (("start", "toy", "Sharper!", *START[3:]), 1, "invalid_routing"),
    ((*START, "--arm", "other"), 2, "give each arm once"),
    ((*START, "--arm", "new=v1"), 2, "give each arm once"),
    ((*START, "--arm", "other=v9"), 1, "invalid_routing"),
    ((*START, "--arm", "other=v1"), 1, "invalid_arms"),
    ((*START, "--weight", "control=50", "--weight", "new=40"), 2, "weights"),
    ((*START, "--alpha", "2"), 1, "invalid_alpha"),
    ((*START, "--share", "0"), 1, "invalid_routing"),
    ((*START, "--share", "nan"), 2, "--share is a percentage"),
    ((*START, "--guard", "speed=1"), 2, "--guard knows"),
    ((*START, "--guard", "failed=0.5"), 1, "invalid_guardrail"),
    ((*START, "--max", "soon"), 2, "--max is a duration"),
    ((*START, "--min", "3d", "--max", "2d"), 1, "invalid_times"),
    (("status", "toy"), 1, "name an experiment"),
    (("stop", "toy", "sharper", "--why", "x"), 1, "experiment_over"),
    (("stop", "toy", "sharper", "--why", " "), 2, "Say why"),
    (("shadow", "toy"), 1, "has no shadow"),
)
"""What is typed, the exit status, and what the line says."""


class Desk:
    """An operator at the stage `test`."""

    def __init__(self, folder: Path, stores: Stores) -> None:
        self.stores = stores
        self._folder = folder
        self._tokens = iter(f"{number:022d}" for number in range(100))

    def __call__(self, *arguments: str) -> Result:
        """Runs a command of `headrace experiment`."""
        world = World(
            environment={},
            find_config_folder=lambda: self._folder / "config",
            here=self._folder,
            open_keyring=no_keyring,
            sleep=lambda _: None,
            token=lambda: next(self._tokens),
        )
        result = CliRunner().invoke(app, ["experiment", *arguments, "--stage", "test"], obj=world)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def json(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def routing(self) -> Any:
        """The document in force."""
        return self.stores.routings.read("toy", consistent=True)


@pytest.fixture
def desk(aws: None, tmp_path: Path) -> Desk:
    """A stage with one endpoint that hosts v1 and v2."""
    write_toy_endpoint(tmp_path)
    make_state_table("headrace-test-state")
    boto3.client("stepfunctions").create_state_machine(
        name="headrace-test-rollout",
        definition=json.dumps({"StartAt": "Over", "States": {"Over": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::123456789012:role/any",
    )
    return Desk(tmp_path, open_stores(Operator("headrace-test")))


@pytest.mark.parametrize(("typed", "status", "said"), REFUSED, ids=[" ".join(typed[-2:]) for typed, *_ in REFUSED])
def test_what_cannot_be_is_refused_in_one_line(desk: Desk, typed: tuple[str, ...], status: int, said: str) -> None:
    """And nothing is written."""
    result = desk(*typed)
    assert result.exit_code == status, result.output
    assert said in result.stderr
    assert desk.routing() is None


def test_an_experiments_life_by_hand(desk: Desk) -> None:
    """Started, looked at with what callers did, stopped, and kept in the history."""
    started = desk(*START, "--weight", "control=60", "--weight", "new=40%", "--share", "20", "--guard", "slower=1.5")
    assert started.exit_code == 0, started.output
    experiment_id = started.stdout.strip()
    [carried] = desk.routing().experiments
    assert (carried.experiment_id, carried.share) == (experiment_id, 2_000)
    assert dict(carried.weights) == {"control": 6_000, "new": 4_000}
    assert desk(*START).exit_code == 1

    for arm, outcomes in (("control", 60), ("new", 120)):
        counted = Counted(requests=600, callers=400, outcomes={"kept": Values(outcomes, outcomes, outcomes)})
        desk.stores.tallies.write(experiment_id, stage=0, arm=arm, holder="one", counted=counted)
    shown = desk.json("status", "toy", "sharper")
    control, new = shown["arms"]
    assert (control["mean"], new["mean"], control["difference"]) == (0.15, 0.3, None)
    assert 0 < new["difference"]["low"] < 0.15 < new["difference"]["high"]
    assert set(new["evidence"]) == {"failed", "late", "invalid", "slower"}
    said = desk("status", "toy")
    assert "sharper: running" in said.stdout
    assert "15.00%" in said.stdout

    assert desk("stop", "toy", "sharper", "--why", "seen enough").stdout.strip() == f"{experiment_id}: ended"
    assert desk.routing().experiments == ()
    assert "seen enough" in desk("list", "toy").stdout
    [kept] = desk.json("history", "toy")
    assert (kept["experiment_id"], kept["state"], kept["plan"]["outcome"]) == (experiment_id, "ended", "kept")
    assert experiment_id in desk("history", "toy").stdout


def test_means_that_are_not_known_yet_are_shown_as_such(desk: Desk) -> None:
    """JSON has no infinity, and neither has a reader."""
    experiment_id = desk(*START, "--mean", "--fewer", "--to-the-end").stdout.strip()
    for arm in ("control", "new"):
        counted = Counted(requests=9, callers=9, outcomes={"kept": Values(2, 5.0, 13.0)})
        desk.stores.tallies.write(experiment_id, stage=0, arm=arm, holder="one", counted=counted)
    shown = desk.json("status", "toy", "sharper")
    assert shown["arms"][1]["difference"] == {"low": None, "estimate": 0.0, "high": None}
    assert "not known" in desk("status", "toy").stdout


def test_a_shadow_is_shown_beside_what_was_served(desk: Desk) -> None:
    """Agreement, what went wrong, and both latencies."""
    endpoint_routing = changes.reweighted(desk.routing() or _declared(), {"v1": 10_000}, who="ada", why="alone", at=0.0)
    same: dict[str, Any] = {
        "weights": endpoint_routing.weights,
        "sticky": endpoint_routing.sticky,
        "groups": endpoint_routing.groups,
        "pins": endpoint_routing.pins,
    }
    desk.stores.routings.put(endpoint_routing)
    shadowing = changes.replaced(endpoint_routing, shadow=Shadow("v2", 1_000), who="ada", why="look", at=0.0, **same)
    desk.stores.routings.put(shadowing)
    subject = standing_subject("toy", "v2")
    empty = desk.json("shadow", "toy")
    assert (empty["agreement"], empty["shadow_ms"]["p50"]) == (None, None)
    shadow = Counted(requests=10, bad={"disagreed": 1, "failed": 2}, of={"disagreed": 8}, times={80: 8})
    desk.stores.tallies.write(subject, stage=20_000, arm=SHADOW, holder="one", counted=shadow)
    desk.stores.tallies.write(
        subject, stage=20_001, arm=SHADOWED, holder="one", counted=Counted(requests=10, times={48: 10})
    )
    shown = desk.json("shadow", "toy")
    assert (shown["version"], shown["compared"], shown["agreement"], shown["failed"]) == ("v2", 8, 0.875, 2)
    assert (shown["shadow_ms"]["p95"], shown["served_ms"]["p95"]) == (1024.0, 64.0)
    assert "87.50%" in desk("shadow", "toy").stdout


def _declared() -> Any:
    from headrace.routing.document import Routing  # noqa: PLC0415 - what a declaration of both says

    return changes.settled(Routing(endpoint="toy", weights={"v1": 5_000, "v2": 5_000}))
