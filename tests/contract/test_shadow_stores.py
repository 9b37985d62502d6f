"""Copies and experiments: the fakes and the adapters keep the same contracts, and `shadow` works over the latter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from headrace.catalog import Catalog
from headrace.catalog import dump as dump_catalog
from headrace.errors import PayloadTooLarge, StoreUnavailable
from headrace.fakes.experiments import FakeExperiments, FakeShadowObjects, FakeShadowQueue
from headrace.fakes.routing import FakeRoutings
from headrace.oip import write_response
from headrace.rollouts import copies
from headrace.rollouts.experiment_turns import start_experiment, stopped, turn_experiment
from headrace.rollouts.experiments import ExperimentChange, ExperimentPlan, ExperimentRun, Experiments
from headrace.rollouts.store import Outrun
from headrace.routing.changes import of_declaration, pinned
from headrace.routing.store import RoutingStore
from headrace_aws import clients
from headrace_aws.experiments_table import ExperimentsTable
from headrace_aws.routing_table import RoutingTable
from headrace_aws.shadow_bucket import ShadowBucket
from headrace_aws.shadow_queue import ShadowQueue, read_message
from headrace_aws.state_machine import RolloutExecutions
from headrace_aws.state_table import StateTable
from tests.contract.conftest import PatientCalls, make_state_table
from tests.contract.test_rollout_stores import DETECT
from tests.unit.headrace.conftest import catalog
from tests.unit.headrace.rollouts.test_agreement import detected
from tests.unit.headrace.rollouts.test_shadowing import CAT, DOG, copy_of

__all__ = ["catalog"]
ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0
COPY_ID = "0123456789abcdef0123456789abcdef"


# -- copies -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["fake", "s3"])
def objects(request: pytest.FixtureRequest) -> Iterator[copies.ShadowObjects]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeShadowObjects()
        return
    request.getfixturevalue("aws")
    where = {"LocationConstraint": "eu-west-1"}
    clients.client("s3", read_timeout_s=1.0).create_bucket(Bucket="jobs", CreateBucketConfiguration=where)
    yield ShadowBucket("jobs", calls=PatientCalls())


def test_an_object_is_there_until_it_is_removed(objects: copies.ShadowObjects) -> None:
    """Removing it twice is no error; one that is too large is not read."""
    key = copies.key_of("detection", COPY_ID)
    assert objects.read_within(key, bytes_max=10) is None
    objects.write(key, b"0123456789")
    assert objects.read_within(key, bytes_max=10) == b"0123456789"
    with pytest.raises(PayloadTooLarge):
        objects.read_within(key, bytes_max=9)
    objects.write(key, b"again")
    assert objects.read_within(key, bytes_max=10) == b"again"
    for _ in range(2):
        objects.delete(key)
    assert objects.read_within(key, bytes_max=10) is None


@pytest.mark.usefixtures("aws")
def test_a_bucket_that_is_away_is_told() -> None:
    """It is the copier's to drop the copy."""
    bucket = ShadowBucket("none", calls=PatientCalls())
    with pytest.raises(StoreUnavailable):
        bucket.write("shadow/detection/1", b"x")


@pytest.mark.usefixtures("aws")
def test_a_message_names_a_copy_and_nothing_else() -> None:
    """What is sent is read again; anything else is refused."""
    sqs = clients.client("sqs", read_timeout_s=1.0)
    url = sqs.create_queue(QueueName="shadow")["QueueUrl"]
    ShadowQueue(url, calls=PatientCalls()).send("detection", COPY_ID)
    [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    fake = FakeShadowQueue()
    fake.send("detection", COPY_ID)
    assert [read_message(message["Body"])] == fake.messages
    assert set(json.loads(message["Body"])) == {"endpoint", "copy"}
    for body in ("", "[]", "{}", '{"endpoint": "../x", "copy": "1"}', '{"endpoint": 1, "copy": 2}'):
        with pytest.raises(ValueError, match="not a shadow's message"):
            read_message(body)


# -- experiments ------------------------------------------------------------------------------------------------------


@dataclass
class Stores:
    """Both stores of one implementation."""

    experiments: Experiments
    routings: RoutingStore


@pytest.fixture(params=["fake", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Each implementation in turn."""
    if request.param == "fake":
        routings = FakeRoutings()
        yield Stores(FakeExperiments(routings), routings)
        return
    request.getfixturevalue("aws")
    make_state_table()
    table = StateTable("state", calls=PatientCalls())
    yield Stores(ExperimentsTable(table), RoutingTable(table))


def run_of(name: str = "boxes", experiment_id: str = "ex_1", **changes: Any) -> ExperimentRun:
    """An experiment between both versions."""
    made = ExperimentRun(
        experiment_id=experiment_id,
        name=name,
        endpoint="detect",
        arms={"control": "v1", "new": "v2"},
        weights={"control": 5_000, "new": 5_000},
        plan=ExperimentPlan(outcome="click"),
        started_at=NOW,
        updated_at=NOW,
        who="ada",
        why="to see",
        tenants=("acme",),
    )
    return replace(made, **changes)


def begin(stores: Stores, run: ExperimentRun) -> ExperimentChange:
    """The change that starts it on what stands."""
    routing = stores.routings.read("detect", consistent=True) or of_declaration(DETECT)
    return start_experiment(run, DETECT, routing, standing=[])


def test_an_experiment_and_its_document_are_written_together(stores: Stores) -> None:
    """And read again; the same change once more is no error."""
    assert stores.experiments.current("detect", "boxes") is None
    assert stores.experiments.all_current("detect") == []
    assert stores.experiments.newest("detect", limit=5) == []
    change = begin(stores, run_of())
    for _ in range(2):
        stores.experiments.commit(change)
    assert stores.experiments.current("detect", "boxes") == change.run
    assert stores.experiments.all_current("detect") == stores.experiments.newest("detect", limit=5) == [change.run]
    assert stores.routings.read("detect", consistent=True) == change.routing


def test_a_name_is_free_again_when_its_experiment_is_over(stores: Stores) -> None:
    """Only one of a name runs; all of them stay in the history, the newest first."""
    first = begin(stores, run_of())
    stores.experiments.commit(first)
    second = begin(stores, run_of(experiment_id="ex_2", started_at=NOW + 5))
    with pytest.raises(Outrun):
        stores.experiments.commit(second)
    other = begin(stores, run_of("colours", "ex_3", started_at=NOW + 3))
    stores.experiments.commit(other)
    standing = stores.routings.read("detect", consistent=True)
    assert standing is not None
    end = stopped(first.run, standing, who="ada", why="enough", now=NOW + 4)
    stores.experiments.commit(end)
    second = begin(stores, second.run)
    stores.experiments.commit(second)
    assert [run.experiment_id for run in stores.experiments.newest("detect", limit=2)] == ["ex_2", "ex_3"]
    assert [run.experiment_id for run in stores.experiments.all_current("detect")] == ["ex_2", "ex_3"]
    after = stores.routings.read("detect", consistent=True)
    assert after is not None
    assert {each.experiment_id for each in after.experiments} == {"ex_2", "ex_3"}


def test_a_change_on_an_older_state_writes_nothing(stores: Stores) -> None:
    """Neither where the record has moved on, nor where the document has."""
    begun = begin(stores, run_of())
    stores.experiments.commit(begun)
    assert begun.routing is not None
    turned = turn_experiment(begun.run, begun.routing, {}, now=NOW + 60).change
    assert turned is not None
    stores.experiments.commit(turned)
    late = stopped(begun.run, begun.routing, who="ada", why="late", now=NOW + 61)
    with pytest.raises(Outrun):
        stores.experiments.commit(late)
    stores.routings.put(pinned(begun.routing, "acme", "v1", who="bob", why="asked", at=NOW))
    late = stopped(turned.run, begun.routing, who="ada", why="late", now=NOW + 62)
    with pytest.raises(Outrun):
        stores.experiments.commit(late)
    assert stores.experiments.current("detect", "boxes") == turned.run
    fresh = stores.routings.read("detect", consistent=True)
    assert fresh is not None
    stores.experiments.commit(stopped(turned.run, fresh, who="ada", why="now", now=NOW + 63))


@pytest.mark.usefixtures("aws")
def test_an_experiments_execution_starts_once() -> None:
    """By its name, with what it is about as its input."""
    states = clients.client("stepfunctions", read_timeout_s=3.0)
    definition = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Succeed"}}})
    role = "arn:aws:iam::123456789012:role/states"
    arn = states.create_state_machine(name="rollout", definition=definition, roleArn=role)["stateMachineArn"]
    machine = RolloutExecutions(arn, calls=PatientCalls())
    for _ in range(2):
        machine.start_experiment("ex_1-r0", endpoint="detect", experiment_id="ex_1")
    [execution] = states.list_executions(stateMachineArn=arn)["executions"]
    described = states.describe_execution(executionArn=execution["executionArn"])
    assert json.loads(described["input"]) == {"asked": {"endpoint": "detect", "experiment_id": "ex_1"}}


# -- the function -----------------------------------------------------------------------------------------------------

PROGRAM = """
import json, sys
from pathlib import Path
from moto import mock_aws

class Context:
    function_name = aws_request_id = invoked_function_arn = "x"
    memory_limit_in_mb = 1

with mock_aws():
    from headrace_aws.clients import client
    client("dynamodb", read_timeout_s=2.0).create_table(
        TableName="state",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        BillingMode="PAY_PER_REQUEST")
    s3 = client("s3", read_timeout_s=2.0)
    s3.create_bucket(Bucket="jobs", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    folder = Path(sys.argv[1])
    for file in folder.glob("*.copy"):
        s3.put_object(Bucket="jobs", Key=f"shadow/detection/{file.stem}", Body=file.read_bytes())
    from functions.shadow import handler as shadow
    from headrace.oip import read_response
    from headrace.fakes.targets import FakePrimary
    shadow.shadower._primary = FakePrimary(
        lambda _: read_response("application/json", (folder / "answer.json").read_bytes()))
    bodies = [{"endpoint": "detection", "copy": file.stem} for file in sorted(folder.glob("*.copy"))]
    records = [{"messageId": str(at), "body": json.dumps(body)} for at, body in enumerate([*bodies, *bodies, {}])]
    answer = shadow.handler({"Records": records}, Context())
    counts = shadow.TalliesTable(shadow.table, wall=lambda: 0).read("ro_A")
    print(json.dumps({
        "answer": answer,
        "left": s3.list_objects_v2(Bucket="jobs").get("KeyCount"),
        "counts": {f"{stage}/{arm}": [counted.requests, dict(counted.bad), dict(counted.of)]
                   for (stage, arm), counted in counts.items()}}))
"""


def test_the_function_compares_counts_and_removes(
    catalog: Catalog,
    tmp_path: Path,
) -> None:
    """Of two copies one disagrees; messages that come twice count once, and nothing of what was said is logged."""
    (tmp_path / "catalog.json").write_text(dump_catalog(catalog), encoding="utf-8")
    _, body = write_response(detected([CAT]), model_name="", model_version="v2", request_id="")
    (tmp_path / "answer.json").write_bytes(body)
    for at, found in enumerate((CAT, DOG)):
        data = copies.dump(copy_of(detected([found]), at=time.time()))
        assert data is not None
        (tmp_path / f"{at:032x}.copy").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        env={
            **os.environ,
            "HEADRACE_STAGE": "test",
            "HEADRACE_PREFIX": "headrace-test",
            "HEADRACE_CATALOG": str(tmp_path / "catalog.json"),
            "HEADRACE_JOBS_BUCKET": "jobs",
            "HEADRACE_STATE_TABLE": "state",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "POWERTOOLS_SERVICE_NAME": "shadow",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    *logs, last = done.stdout.splitlines()
    assert json.loads(last) == {
        "answer": {"batchItemFailures": []},
        "left": 0,
        "counts": {
            "3/canary": [0, {"disagreed": 1}, {"disagreed": 2}],
            "3/shadow": [2, {"disagreed": 1}, {"disagreed": 2}],
            "3/shadowed": [2, {}, {}],
        },
    }
    outcomes = [json.loads(line)["outcome"] for line in logs if '"outcome"' in line]
    assert outcomes == ["agreed", "disagreed", "gone", "gone", "broken_ValueError"]
    assert not [line for line in logs if '"cat"' in line or "picture" in line]
