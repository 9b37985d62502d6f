"""Rollouts on the local platform: the command line, the real function, the state machine's own file, real waits."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headrace.rollouts.counted import Counted
from headrace_cli.main import app
from headrace_cli.operating import Operator
from headrace_cli.rolling import open_stores
from headrace_cli.world import World
from infra_local.state import State, write_private, write_state
from infra_local.threaded import ThreadedStack
from tests.integration.local.toy_endpoint import write_toy_endpoint
from tests.unit.cli.conftest import no_keyring

pytestmark = [pytest.mark.local_stack, pytest.mark.timeout(180)]
LOOKS_MAX, PAUSE_S = 240, 0.25
PLAN = ("--look", "1s", "--bake", "0s", "--steps", "10,100", "--measure", "20", "--limit", "failed=0.2", "--yes")
FEW = ("--without", "late", "--without", "invalid", "--without", "slower", "--without", "unsure")


@dataclass
class Desk:
    """An operator's place: the command line over a running platform, and the counts that requests would leave."""

    folder: Path
    stack: ThreadedStack
    stores: Any

    def __call__(self, *arguments: object) -> Result:
        """Runs a command of `headrace rollout`."""
        world = World(
            environment={}, find_config_folder=lambda: self.folder / "config", here=self.folder, open_keyring=no_keyring
        )
        return CliRunner().invoke(app, ["rollout", *map(str, arguments)], obj=world)

    def client(self, service: str) -> Any:
        """An unmodified boto3 client of the platform."""
        return Operator("headrace-local", local=self.stack.environment()).client(service)

    def ended(self, rollout_id: str) -> str:
        """Waits for the end of its execution, and says how that ended."""
        states = self.client("stepfunctions")
        arn = f"arn:aws:states:us-east-1:123456789012:execution:headrace-local-rollout:{rollout_id}-r0"
        for _ in range(LOOKS_MAX):
            status: str = states.describe_execution(executionArn=arn)["status"]
            if status != "RUNNING":
                return status
            time.sleep(PAUSE_S)
        pytest.fail("the execution goes on and on")

    def told_to_a_queue(self) -> str:
        """A queue that is told of the ends of rollouts."""
        queues, events = self.client("sqs"), self.client("events")
        queue: str = queues.create_queue(QueueName="ends")["QueueUrl"]
        about = queues.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
        pattern = {"source": ["headrace"], "detail-type": ["Rollout Finished"]}
        events.put_rule(Name="ends", EventPattern=json.dumps(pattern))
        events.put_targets(Rule="ends", Targets=[{"Id": "ends", "Arn": about["QueueArn"]}])
        return queue

    def started(self, version: str = "v2", *more: object) -> str:
        """Starts one, and returns its id."""
        result = self("start", "toy", version, "--why", "a test", *PLAN, *FEW, *more)
        assert result.exit_code == 0, result.output
        rollout_id: str = result.stdout.strip()
        return rollout_id

    def count(self, rollout_id: str, stage: int, arm: str, counted: Counted) -> None:
        """Leaves counts, as functions do."""
        self.stores.tallies.write(rollout_id, stage=stage, arm=arm, holder="test", counted=counted)

    def wait_for(self, what: Callable[[Any], bool]) -> Any:
        """Looks until the record is as wanted."""
        for _ in range(LOOKS_MAX):
            rollout = self.stores.rollouts.current("toy")
            if rollout is not None and what(rollout):
                return rollout
            time.sleep(PAUSE_S)
        pytest.fail(f"still {rollout}")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """A platform with one toy endpoint, and the state file by which commands find it."""
    folder = tmp_path_factory.mktemp("rollouts")
    endpoints, artifacts = write_toy_endpoint(folder)
    run = folder / ".headrace"
    with ThreadedStack(endpoints=endpoints, artifacts=artifacts, folder=run) as running:
        environment = running.environment()
        state = State(
            pid=os.getpid(),
            url=running.url,
            admin_url=running.url,
            admin_token="",
            api_key_file="",
            environment=dict(environment),
        )
        write_state(run, state)
        write_private(run / "run" / "api-key", running.api_key)
        yield Desk(folder, running, open_stores(Operator("headrace-local", local=environment)))


def test_a_good_version_reaches_everybody(desk: Desk) -> None:
    """Measured, stepped up by evidence, finished: by the machine alone, and every decision is kept."""
    rollout_id = desk.started()
    desk.count(rollout_id, 0, "control", Counted(requests=30, times={50: 30}))
    desk.wait_for(lambda rollout: rollout.stage.number == 1)
    for stage in (1, 2):
        for arm in ("canary", "control"):
            desk.count(rollout_id, stage, arm, Counted(requests=200))
    rollout = desk.wait_for(lambda found: not found.active)
    assert rollout.state == "finished"
    assert dict(desk.stores.routings.read("toy").weights) == {"v1": 0, "v2": 10_000}
    history = json.loads(desk("history", "toy", rollout_id, "--json").stdout)
    said = [decision["what"] for decision in history if decision["what"] != "hold"]
    assert said == ["start", "measured", "advance", "finish"]
    assert desk("status", "toy", "--watch").exit_code == 0


def test_an_abort_ends_the_machine_too(desk: Desk) -> None:
    """The command's word is written at once; the execution finds it at its next look, and ends well."""
    rollout_id = desk.started("v1")
    desk.count(rollout_id, 0, "control", Counted(requests=30))
    desk.wait_for(lambda rollout: rollout.stage.number == 1)
    assert desk("abort", "toy", "--why", "not today").exit_code == 0
    assert dict(desk.stores.routings.read("toy").weights) == {"v1": 0, "v2": 10_000}
    assert desk.ended(rollout_id) == "SUCCEEDED"


def test_a_bad_version_is_rolled_back_and_told(desk: Desk) -> None:
    """One that fails is taken out by the machine alone; others are told, and the evidence can be drawn."""
    queue = desk.told_to_a_queue()
    rollout_id = desk.started("v1")
    desk.count(rollout_id, 0, "control", Counted(requests=30))
    desk.wait_for(lambda rollout: rollout.stage.number == 1)
    bad: Any = {"failed": 40}
    desk.count(rollout_id, 1, "control", Counted(requests=400))
    desk.count(rollout_id, 1, "canary", Counted(requests=44, bad=bad, bad_callers=bad))
    rollout = desk.wait_for(lambda found: not found.active)
    assert rollout.state == "rolled_back"
    routing = desk.stores.routings.read("toy", consistent=True)
    assert (dict(routing.weights), dict(routing.withdrawn)) == ({"v1": 0, "v2": 10_000}, {"v1": rollout_id})
    assert desk.ended(rollout_id) == "SUCCEEDED"
    [message] = desk.client("sqs").receive_message(QueueUrl=queue)["Messages"]
    event = json.loads(message["Body"])
    assert event["detail-type"] == "Rollout Finished"
    assert (event["detail"]["rollout_id"], event["detail"]["state"]) == (rollout_id, "rolled_back")
    assert "failed" in desk("plot", "toy").stdout
    assert "version_withdrawn" in desk("start", "toy", "v1", "--why", "again", *PLAN, *FEW).stderr
