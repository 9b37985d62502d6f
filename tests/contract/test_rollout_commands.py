"""`headrace rollout` over the real adapters and an account in memory: what it says, writes, refuses and draws."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from typer.testing import CliRunner, Result

from headrace.declaration.compile import compile_catalog
from headrace.declaration.files import read_declarations
from headrace.health.counts import Counts
from headrace.registry.versions import Candidate, Measured
from headrace.rollouts.counted import Counted
from headrace.rollouts.turns import turn
from headrace_aws.clients import client
from headrace_aws.registry import ModelRegistry
from headrace_cli.main import app
from headrace_cli.operating import Operator
from headrace_cli.rolling import TRAFFIC_S, Stores, open_stores
from headrace_cli.rollout_plans import duration
from headrace_cli.world import World
from tests.contract.conftest import make_state_table
from tests.integration.local.toy_endpoint import write_toy_endpoint
from tests.unit.cli.conftest import no_keyring

ENDPOINT = "headrace-test-toy"
START = ("start", "toy", "v2", "--why", "faster")
PNG = b"\x89PNG"
REFUSED = (
    (("start", "toys", "v2", "--why", "x"), 2, "No endpoint 'toys'"),
    (("start", "toy", "v9", "--why", "x"), 1, "version_not_found"),
    (("start", "toy", "v1", "--why", "x"), 1, "already_serving"),
    (("start", "toy", "v2", "--why", " "), 1, "why_missing"),
    ((*START, "--steps", "5,1,100"), 2, "steps must rise"),
    ((*START, "--steps", "1,5"), 2, "end at 100"),
    ((*START, "--steps", "few"), 2, "--steps are percents"),
    ((*START, "--bake", "soon"), 2, "--bake is a duration"),
    ((*START, "--limit", "speed=1"), 2, "--limit knows"),
    ((*START, "--limit", "failed"), 2, "--limit is METRIC=NUMBER"),
    ((*START, "--limit", "failed=2"), 2, "limits.failed.rate_max"),
    ((*START, "--limit", "disagreed=0.1"), 2, "--shadow"),
    ((*START, "--alpha", "0"), 2, "alpha"),
    ((*START, "--look", "2h"), 2, "--look"),
    (("promote", "toy", "--to", "nan", "--why", "x"), 2, "--to is a percentage"),
    (("promote", "toy", "--to", "inf", "--why", "x"), 2, "--to is a percentage"),
    (("status", "toy"), 1, "no rollout yet"),
    (("abort", "toy", "--why", "x"), 1, "rollout_not_found"),
    (("plot", "toy"), 1, "no rollout yet"),
    (("history", "toy", "ro_nobody"), 1, "no rollout ro_nobody"),
)
"""What is typed, the exit status, and what the line says."""


@dataclass
class Desk:
    """An operator at the stage `test`."""

    folder: Path
    stores: Stores
    tokens: Iterator[str] = field(default_factory=lambda: iter(f"{number:022d}" for number in range(100)))

    def __call__(self, *arguments: object, stdin: str | None = None) -> Result:
        """Runs a command of `headrace rollout`."""
        world = World(
            environment={},
            find_config_folder=lambda: self.folder / "config",
            here=self.folder,
            open_keyring=no_keyring,
            sleep=lambda _: None,
            token=lambda: next(self.tokens),
        )
        told = ["rollout", *map(str, arguments), "--stage", "test"]
        result = CliRunner().invoke(app, told, obj=world, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def begin(self, *more: object) -> str:
        """Starts a rollout, and returns its id."""
        result = self(*START, "--yes", *more)
        assert result.exit_code == 0, result.output
        rollout_id: str = result.stdout.strip()
        return rollout_id

    def turn(self, stage: int, *, canary: Counted, control: Counted, after_s: float) -> None:
        """What the controller does at its next look, when this was counted."""
        rollout, routing = self.stores.rollouts.current("toy"), self.stores.routings.read("toy", consistent=True)
        assert rollout is not None
        assert routing is not None
        for arm, counted in (("canary", canary), ("control", control)):
            self.stores.tallies.write(rollout.rollout_id, stage=stage, arm=arm, holder="one", counted=counted)
        counts = self.stores.tallies.read(rollout.rollout_id)
        turned = turn(rollout, routing, counts, now=rollout.stage.since + after_s)
        assert turned.change is not None
        self.stores.rollouts.commit(turned.change)

    def routing(self) -> dict[str, int]:
        """The weights in force."""
        found = self.stores.routings.read("toy", consistent=True)
        assert found is not None
        return dict(found.weights)


@pytest.fixture
def desk(aws: None, tmp_path: Path) -> Desk:
    """A stage with one endpoint that hosts v1 and v2, and nothing rolled out yet."""
    write_toy_endpoint(tmp_path)
    make_state_table("headrace-test-state")
    make_endpoint(("v1", "v2"))
    boto3.client("stepfunctions").create_state_machine(
        name="headrace-test-rollout",
        definition=json.dumps({"StartAt": "Over", "States": {"Over": {"Type": "Succeed"}}}),
        roleArn="arn:aws:iam::123456789012:role/any",
    )
    return Desk(tmp_path, open_stores(Operator("headrace-test")))


def make_endpoint(variants: tuple[str, ...]) -> None:
    """The endpoint at SageMaker."""
    control: Any = boto3.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/any"
    control.create_model(ModelName="any", PrimaryContainer={"Image": "any"}, ExecutionRoleArn=role)
    each = {
        "ModelName": "any",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1.0,
    }
    control.create_endpoint_config(
        EndpointConfigName=ENDPOINT, ProductionVariants=[{"VariantName": name, **each} for name in variants]
    )
    control.create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=ENDPOINT)


def register(digest: str) -> str:
    """The toy's v2 in the registry, waiting for approval. Returns its ARN."""
    control: Any = boto3.client("sagemaker")
    control.create_model_package_group(ModelPackageGroupName=ENDPOINT)
    candidate = Candidate(
        endpoint="toy",
        version="v2",
        digest=digest,
        contract_digest=f"sha256:{'c' * 64}",
        api_version=1,
        measured=Measured(latency_p50_ms=1.0, latency_p99_ms=2.0, requests=10, size_bytes=100, golden=1),
        record="registry/toy/v2.json",
        by="somebody",
    )
    registry = ModelRegistry(
        sagemaker=control, s3=boto3.client("s3"), prefix="headrace-test", bucket="headrace-test-artifacts"
    )
    registry.register(candidate, image=None, after=0)
    (found,) = registry.versions("toy")
    return found.package


def approve(package: str) -> None:
    """What SageMaker does for an approval; moto alone would forget the properties that the call leaves out."""
    control: Any = boto3.client("sagemaker")
    properties = control.describe_model_package(ModelPackageName=package)["CustomerMetadataProperties"]
    control.update_model_package(
        ModelPackageArn=package, ModelApprovalStatus="Approved", CustomerMetadataProperties=properties
    )


def test_what_is_registered_must_be_approved_and_be_what_is_declared(desk: Desk) -> None:
    """One that nobody registered starts, and it is said; one that waits, or is another artifact, does not."""
    digest = compile_catalog(read_declarations(desk.folder / "endpoints"), {}).endpoint("toy").version("v2").artifact
    package = register(digest)
    refused = desk(*START, "--yes")
    assert refused.exit_code == 1
    assert "headrace models approve toy v2" in refused.stderr
    approve(package)
    begun = desk(*START, "--yes")
    assert begun.exit_code == 0, begun.output
    assert "not in the registry" not in begun.stderr


def test_it_says_what_each_step_takes_and_asks(desk: Desk) -> None:
    """Requests, time at the present traffic, and the bound on false alarms; a no begins nothing."""
    now = int(desk.stores.wall())
    for second in range(now - 50, now):
        counts = {"#5": Counts(arrived=20), "toy/v1": Counts(good=19, bad=1, done=20)}
        desk.stores.health.add("toy", second, counts)
    result = desk(*START, "--limit", "failed=0.05", "--steps", "1,50,100", stdin="n\n")
    assert result.exit_code == 1
    assert "measure the control" in result.stderr
    assert "1 %\t" in result.stderr
    assert "requests/s" in result.stderr
    assert "failed at 5.000%" in result.stderr
    assert "no end in sight" in result.stderr  # what serves now does not keep that limit itself
    assert "probability 0.01" in result.stderr
    assert desk.stores.rollouts.current("toy") is None
    assert TRAFFIC_S >= 50


def test_without_traffic_it_says_so(desk: Desk) -> None:
    """How long it takes cannot be known; how many requests it takes can."""
    result = desk(*START, "--yes")
    assert result.exit_code == 0
    assert "none of late, or not known" in result.stderr
    assert "not known" in result.stderr


def test_a_start_is_recorded_and_handed_over(desk: Desk) -> None:
    """The record, the routing document with the canary at nothing, and an execution by the rollout's name."""
    rollout_id = desk.begin("--alpha", "0.02", "--bake", "90s", "--look", "20s", "--shadow", "5", "--step-max", "2h")
    rollout = desk.stores.rollouts.current("toy")
    assert rollout is not None
    assert (rollout.rollout_id, rollout.state, rollout.why) == (rollout_id, "measuring", "faster")
    assert rollout.who.startswith("arn:aws:")
    plan = rollout.plan
    assert (plan.alpha, plan.bake_s, plan.look_s, plan.shadow, plan.step_s_max) == (0.02, 90.0, 20.0, 500, 7_200.0)
    assert {limit.metric for limit in plan.limits} == {
        "failed", "late", "slower", "invalid", "refused", "unsure", "disagreed",
    }  # fmt: skip
    assert desk.routing() == {"v1": 10_000, "v2": 0}
    machines = client("stepfunctions", read_timeout_s=1.0)
    arn = machines.list_state_machines()["stateMachines"][0]["stateMachineArn"]
    [execution] = machines.list_executions(stateMachineArn=arn)["executions"]
    assert execution["name"] == f"{rollout_id}-r0"


def test_what_cannot_be_is_refused_in_a_line(desk: Desk) -> None:
    """One clear line on stderr, the exit status that others have, and nothing written."""
    for arguments, code, said in REFUSED:
        result = desk(*arguments)
        assert (result.exit_code, said in result.stderr) == (code, True), (arguments, result.stderr)
        assert len(result.stderr.strip().splitlines()) == 1
    assert desk.stores.rollouts.current("toy") is None


def test_a_version_that_is_not_deployed_is_refused(desk: Desk) -> None:
    """SageMaker is asked whether it serves the version."""
    control = boto3.client("sagemaker")
    control.delete_endpoint(EndpointName=ENDPOINT)
    control.delete_endpoint_config(EndpointConfigName=ENDPOINT)
    control.delete_model(ModelName="any")
    make_endpoint(("v1",))
    result = desk(*START, "--yes")
    assert result.exit_code == 1
    assert "serves no v2 yet" in result.stderr
    assert desk.stores.rollouts.current("toy") is None


def test_a_second_one_is_refused(desk: Desk) -> None:
    """Two rollouts of one endpoint refuse each other; after an abort the next may begin."""
    first = desk.begin()
    second = desk(*START, "--yes")
    assert second.exit_code == 1
    assert f"rollout_active: {first}" in second.stderr
    assert desk("abort", "toy", "--why", "not now").stdout == f"{first}: aborted\n"
    assert desk("abort", "toy", "--why", "again").exit_code == 1
    assert desk.begin() != first


def test_a_person_may_step_in(desk: Desk) -> None:
    """Pause, resume and promote, each kept with who and why."""
    rollout_id = desk.begin("--steps", "5,50,100")
    assert desk("pause", "toy", "--why", "lunch").stdout == f"{rollout_id}: paused at 0 %\n"
    assert desk("pause", "toy", "--why", "lunch").exit_code == 1
    assert desk("resume", "toy", "--why", "back").stdout == f"{rollout_id}: measuring at 0 %\n"
    assert desk("promote", "toy", "--why", "sure").stdout == f"{rollout_id}: running at 5 %\n"
    assert desk("promote", "toy", "--to", "7", "--why", "x").exit_code == 1
    assert desk("promote", "toy", "--to", "100", "--why", "very sure").stdout == f"{rollout_id}: running at 100 %\n"
    assert desk.routing() == {"v1": 0, "v2": 10_000}
    assert desk("promote", "toy", "--why", "done").stdout == f"{rollout_id}: finished\n"
    entries = json.loads(desk("history", "toy", rollout_id, "--json").stdout)
    assert [entry["what"] for entry in entries] == ["start", "pause", "resume", "promote", "promote", "promote"]
    assert all(entry["who"].startswith("arn:aws:") for entry in entries)
    assert [entry["why"] for entry in entries][1:3] == ["lunch", "back"]
    listed = desk("history", "toy").stdout
    assert listed.startswith(rollout_id)
    assert "finished" in listed


def test_it_shows_where_it_stands(desk: Desk) -> None:
    """Both arms, evidence against the threshold, bounds against limits, and how many requests are missing."""
    desk.begin("--limit", "failed=0.05", "--without", "late")
    desk.turn(0, canary=Counted(), control=Counted(requests=400, times={50: 400}), after_s=5.0)
    desk.stores.tallies.write(
        current(desk), stage=1, arm="canary", holder="one", counted=Counted(requests=40, bad={"failed": 1})
    )
    shown = desk("status", "toy").stdout
    assert "toy v2: running; step 1 of 5, 1 %" in shown
    assert "failed\t0 of 0\t1 of 40 (2.50%)" in shown
    seen = json.loads(desk("status", "toy", "--json").stdout)
    assert seen["counts"]["1/canary"]["requests"] == 40
    assert seen["threshold"] == 2.0
    assert seen["needed"]["failed"] > 0
    assert seen["bounds"]["failed"] > 0.05
    assert seen["rollout"]["state"] == "running"


def test_watching_ends_with_the_rollout(desk: Desk) -> None:
    """A rollout that was rolled back is no success: the exit status says so; nothing hangs on one that is over."""
    rolled_back(desk)
    result = desk("status", "toy", "--watch")
    assert result.exit_code == 1
    assert "rolled back" in result.stderr


def test_what_was_rolled_back_needs_again(desk: Desk) -> None:
    """Not by mistake, and not the same artifact at once."""
    rollout_id = rolled_back(desk)
    refused = desk(*START, "--yes")
    assert refused.exit_code == 1
    assert f"version_withdrawn: v2 was rolled back by {rollout_id}" in refused.stderr
    assert "cooling_down" in desk(*START, "--yes", "--again").stderr


def test_evidence_is_drawn(desk: Desk, tmp_path: Path) -> None:
    """In the terminal, and as a picture that is one."""
    rollout_id = rolled_back(desk)
    drawn = desk("plot", "toy")
    assert drawn.exit_code == 0
    assert "failed" in drawn.stdout
    assert "rolled back" in drawn.stdout
    picture = tmp_path / "evidence.png"
    assert desk("plot", "toy", rollout_id, "--png", picture).stdout.strip() == str(picture)
    assert picture.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0s"), (59, "59s"), (61, "1m 1s"), (3600, "1h"), (90_061, "1d 1h"), (7_200.4, "2h")]
)
def test_durations_are_said_in_two_units(seconds: float, said: str) -> None:
    """Nobody reads seconds of days."""
    assert duration(seconds) == said
    assert duration(float("inf")) == "no end in sight"


def current(desk: Desk) -> str:
    """The id of the last rollout."""
    rollout = desk.stores.rollouts.current("toy")
    assert rollout is not None
    return rollout.rollout_id


def rolled_back(desk: Desk) -> str:
    """A rollout whose canary failed every time."""
    rollout_id = desk.begin()
    desk.turn(0, canary=Counted(), control=Counted(requests=400, times={50: 400}), after_s=5.0)
    bad: Any = {"failed": 30}
    desk.turn(1, canary=Counted(requests=30, bad=bad, bad_callers=bad), control=Counted(requests=3_000), after_s=9.0)
    assert desk.routing() == {"v1": 10_000, "v2": 0}
    return rollout_id


def test_a_version_that_is_in_alarm_is_not_rolled_out(desk: Desk) -> None:
    """Its alarm would not change when more goes wrong, and the second net would have a hole."""
    watch: Any = boto3.client("cloudwatch")
    for version in ("v1", "v2"):
        watch.put_metric_alarm(
            AlarmName=f"{ENDPOINT}/{version}/errors",
            EvaluationPeriods=1,
            ComparisonOperator="GreaterThanThreshold",
            Threshold=0.0,
            Namespace="AWS/SageMaker",
            MetricName="Invocation5XXErrors",
            Period=60,
            Statistic="Sum",
        )
        watch.set_alarm_state(AlarmName=f"{ENDPOINT}/{version}/errors", StateValue="ALARM", StateReason="a test")
    refused = desk(*START, "--yes")
    assert refused.exit_code == 1
    assert f"{ENDPOINT}/v2/errors is in alarm already" in refused.stderr
    watch.set_alarm_state(AlarmName=f"{ENDPOINT}/v2/errors", StateValue="OK", StateReason="a test")
    assert desk.begin()
