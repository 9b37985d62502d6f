"""The real function as processes that are killed at random moments, over the real table code and a DynamoDB."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

from headrace.catalog import Catalog, dump
from headrace.rollouts.counted import Counted
from headrace.rollouts.operations import Operations
from headrace.rollouts.plan import Limit, RolloutPlan
from headrace_aws.rollouts_table import RolloutsTable
from headrace_aws.routing_table import RoutingTable
from headrace_aws.state_table import StateTable
from headrace_aws.tallies_table import TalliesTable
from tests.contract.test_moto_mends import invocations, moto_faults, moto_url
from tests.unit.headrace.rollouts.rollout_world import ENDPOINT

__all__ = ["invocations", "moto_faults", "moto_url"]
pytestmark = pytest.mark.timeout(300)
KILLS = 50
TURN_MS = 100.0
"""What a turn is taken to last until one is measured."""
KILL_WITHIN = 1.2
"""Of a turn's time: kills fall before, within and after each of its calls, and some too late."""
TURNS_MAX = 600
PER_TURN = 40
PLAN = RolloutPlan(
    (Limit("failed", rate_max=0.2),), steps=(1_000, 5_000, 10_000), bake_s=0.0, measure_requests=1_200, look_s=1.0
)
TABLE = "rollout-kills"


@dataclass
class Scene:
    """The table, and the program that takes turns."""

    table: StateTable
    turner: subprocess.Popen[str]
    killed: int = 0
    turn_ms: float = TURN_MS
    sent: dict[tuple[int, str], int] = field(default_factory=dict)

    def turn(self, rollout_id: str, kill_after_ms: float | None) -> Any:
        """One turn; what the function answered."""
        asked = {"asked": {"endpoint": ENDPOINT.name, "rollout_id": rollout_id}, "execution": ""}
        assert self.turner.stdin is not None
        assert self.turner.stdout is not None
        after = "-" if kill_after_ms is None else str(kill_after_ms)
        self.turner.stdin.write(f"{json.dumps(asked)}\t{after}\n")
        self.turner.stdin.flush()
        return json.loads(self.turner.stdout.readline())

    def serve(self, *, bad: float) -> None:
        """Some requests, divided and counted as the document in force says."""
        routing = RoutingTable(self.table).read(ENDPOINT.name, consistent=True)
        assert routing is not None
        canary = routing.canary
        if canary is None:
            return
        for arm, share in (("canary", canary.share), ("control", 10_000 - canary.share)):
            place = (canary.stage, arm)
            self.sent[place] = self.sent.get(place, 0) + PER_TURN * share // 10_000
            requests = self.sent[place]
            failed = int(requests * bad) if arm == "canary" else 0
            counted = Counted(requests=requests, bad={"failed": failed}, bad_callers={"failed": failed})
            if requests:
                tallies = TalliesTable(self.table, wall=lambda: 1_800_000_000.0)
                tallies.write(canary.rollout_id, stage=canary.stage, arm=arm, holder="fleet", counted=counted)

    def run(self, rollout_id: str, *, bad: float, chance: random.Random | None) -> dict[str, Any]:
        """Turns to the end, as the state machine takes them, with kills while there are any left."""
        self.sent.clear()
        kills = KILLS if chance is not None else 0
        for _ in range(TURNS_MAX):
            kill = chance is not None and kills > 0 and chance.random() < 0.9
            after_ms = chance.uniform(0.0, KILL_WITHIN * self.turn_ms) if kill and chance is not None else None
            began_s = time.perf_counter()
            answer = self.turn(rollout_id, after_ms)
            if isinstance(answer, dict):
                self.turn_ms = 0.5 * (self.turn_ms + 1000.0 * (time.perf_counter() - began_s))
            if not isinstance(answer, dict):
                kills -= answer == "killed"
                self.killed += answer == "killed"
                continue
            if not answer["again"]:
                assert chance is None or not kills
                return answer
            self.serve(bad=bad)
        raise AssertionError(f"no end after {TURNS_MAX} turns")


@pytest.fixture
def scene(moto_url: str, tmp_path: Path) -> Iterator[Scene]:
    """An empty table, and the program."""
    aws = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "eu-west-1"}
    catalog = tmp_path / "catalog.json"
    catalog.write_text(dump(Catalog({ENDPOINT.name: ENDPOINT})), encoding="utf-8")
    database = boto3.client(
        "dynamodb",
        endpoint_url=moto_url,
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    database.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST",
    )
    environment = {
        **os.environ,
        **aws,
        "AWS_ENDPOINT_URL": moto_url,
        "HEADRACE_STAGE": "test",
        "HEADRACE_PREFIX": "headrace-test",
        "HEADRACE_CATALOG": str(catalog),
        "HEADRACE_STATE_TABLE": TABLE,
        "HEADRACE_ROLLOUT_MACHINE": "arn:aws:states:eu-west-1:123456789012:stateMachine:headrace-test-rollout",
        "POWERTOOLS_SERVICE_NAME": "rollout_step",
    }
    program = [sys.executable, "-m", "tests.integration.local.rollout_turner"]
    with subprocess.Popen(
        program,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=Path(__file__).parents[3],
    ) as turner:
        yield Scene(StateTable(TABLE, timeout_s=30.0, make_client=lambda: database), turner)
        assert turner.stdin is not None
        turner.stdin.close()
    database.delete_table(TableName=TABLE)


class _NoMachine:
    """The test itself is the state machine."""

    def start(self, name: str, *, endpoint: str, rollout_id: str) -> None:
        """Nothing."""


def start(scene: Scene, rollout_id: str) -> None:
    """Begin a rollout of v2."""
    operations = Operations(
        ENDPOINT,
        rollouts=RolloutsTable(scene.table),
        routings=RoutingTable(scene.table),
        tallies=TalliesTable(scene.table, wall=lambda: 1_800_000_000.0),
        executions=_NoMachine(),
        wall=lambda: 1_800_000_000.0,
    )
    operations.start("v2", plan=PLAN, rollout_id=rollout_id, who="ada", why="a test", again=True)
    scene.serve(bad=0.0)


@pytest.mark.parametrize(("rollout_id", "bad"), [("ro_good", 0.0), ("ro_bad", 0.3)])
def test_fifty_kills_change_nothing(scene: Scene, rollout_id: str, bad: float) -> None:
    """Fifty processes die by SIGKILL in the middle of turns; the rollout ends as it ends without, good or bad."""
    chance = random.Random(7)  # noqa: S311 - reproducible
    start(scene, rollout_id)
    rough = scene.run(rollout_id, bad=bad, chance=chance)
    assert scene.killed == KILLS
    rollouts, routings = RolloutsTable(scene.table), RoutingTable(scene.table)
    routing = routings.read(ENDPOINT.name, consistent=True)
    assert routing is not None
    assert routing.canary is None
    whats = [decision.what for decision in rollouts.decisions(rollout_id) if decision.what != "hold"]
    if bad:
        assert rough["state"] == "rolled_back"
        assert dict(routing.weights) == {"v1": 9_000, "v2": 0, "v3": 1_000}
        assert dict(routing.withdrawn) == {"v2": rollout_id}
        assert whats.count("roll_back") == 1
    else:
        assert rough["state"] == "finished"
        assert dict(routing.weights) == {"v1": 0, "v2": 10_000, "v3": 0}
        assert whats == ["start", "measured", "advance", "advance", "finish"]
    assert rough["event"]["rollout_id"] == rollout_id
