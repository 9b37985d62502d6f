"""Transform jobs: what is written for SageMaker, and beside it whose it is."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.batches.bounds import SHARD_RECORDS_MAX
from headrace.batches.layout import shards_key
from headrace.batches.planning.planner import PlanStep
from headrace.batches.planning.transform import REQUEST_BYTES_MAX, Hosted, bad_key, input_key, map_key, packed
from headrace.batches.scoring.answering import load_slips
from headrace.batches.scoring.asking import Ask
from headrace.catalog import BatchRules, Catalog, Endpoint
from tests.unit.headrace.batches.planning_world import BATCH, TENANT, World

JOB_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


@pytest.fixture
def world(catalog: Catalog) -> World:
    """A planner whose classifier runs on an endpoint."""
    world = World(catalog)
    world.hosting.known["sentiment", "v1"] = Hosted("model-of-v1", "ml.g5.xlarge")
    return world


def lines(world: World, key: str) -> list[Any]:
    """An object's lines."""
    return [json.loads(line) for line in world.bucket.objects[key].splitlines()]


def planned(world: World, data: bytes, **options: Any) -> PlanStep:
    """A plan for a file that is to go to a transform job."""
    world.upload(data, method="transform", **options)
    return world.plan()


def test_texts_travel_together_and_the_map_says_whose_they_are(world: World) -> None:
    """Up to the endpoint's items in one request (4 here); a record's own list stays whole."""
    records: list[dict[str, Any]] = [{"custom_id": f"r{number}", "input": f"text {number}"} for number in range(3)]
    records += [{"custom_id": "list", "input": ["a", "b"]}]
    step = planned(world, "\n".join(map(json.dumps, records)).encode())
    assert step.method == "transform"
    requests = lines(world, input_key(TENANT, BATCH, 0))
    assert [request["inputs"][0]["data"] for request in requests] == [["text 0", "text 1", "text 2"], ["a", "b"]]
    assert [request["inputs"][0]["shape"] for request in requests] == [[3], [2]]
    slips = [load_slips(line) for line in world.bucket.objects[map_key(TENANT, BATCH, 0)].splitlines()]
    assert [[(slip.line, slip.custom_id, slip.items, slip.several) for slip in slip_line] for slip_line in slips] == [
        [(1, "r0", 1, False), (2, "r1", 1, False), (3, "r2", 1, False)],
        [(4, "list", 2, True)],
    ]
    assert world.bucket.objects[bad_key(TENANT, BATCH)] == b""


def test_what_cannot_be_asked_is_kept_apart(world: World) -> None:
    """Bad lines, records that break the endpoint's limits, and ids that came before never reach the job."""
    data = b'{"custom_id": "a", "input": "fine"}\nbroken\n{"input": ""}\n{"custom_id": "a", "input": "again"}\n'
    planned(world, data)
    errors = lines(world, bad_key(TENANT, BATCH))
    assert [(row["line"], row["error"]["code"]) for row in errors] == [
        (2, "json_invalid"),
        (3, "empty_text"),
        (4, "duplicate_custom_id"),
    ]
    (request,) = lines(world, input_key(TENANT, BATCH, 0))
    assert request["inputs"][0]["data"] == ["fine"]


def test_the_job_is_named_for_its_execution(world: World) -> None:
    """The same run starts it once; it reads and writes in the batch's own folder, on the version's model."""
    batch = replace(world.upload(b'{"input": "text"}', method="transform"), batch_id="batch_" + "-_" * 11)
    step = planned(world, b'{"input": "text"}')
    job = step.transform
    assert job is not None
    assert JOB_NAME.fullmatch(job["TransformJobName"])
    assert job["ModelName"] == "model-of-v1"
    assert job["BatchStrategy"] == "SingleRecord"
    folder = f"s3://batches/tenants/{TENANT}/batches/{BATCH}/transform/"
    assert job["TransformInput"]["DataSource"]["S3DataSource"] == {"S3DataType": "S3Prefix", "S3Uri": f"{folder}input/"}
    assert job["TransformInput"]["SplitType"] == job["TransformOutput"]["AssembleWith"] == "Line"
    assert job["TransformOutput"]["S3OutputPath"] == f"{folder}output/"
    assert job["TransformResources"] == {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1}
    assert json.loads(json.dumps(job)) == job
    assert world.planned.version == "v1"
    assert batch.execution != BATCH


def test_the_map_is_there_should_the_job_fail(world: World) -> None:
    """All shards are listed, and a redrive lists what is missing and starts no job."""
    data = b'{"input": "text"}\n' * (SHARD_RECORDS_MAX + 1)
    step = planned(world, data)
    assert (step.method, step.shards) == ("transform", 2)
    assert world.listed(shards_key(TENANT, BATCH)) == [0, 1]
    assert len(lines(world, input_key(TENANT, BATCH, 1))) == 1
    world.records.batches[TENANT, BATCH] = replace(world.batch, redrives=1)
    assert world.plan().method == "map"


def test_running_again_says_the_same(world: World) -> None:
    """The plan is found, nothing is read, and the job has the same name."""
    first = planned(world, b'{"input": "text"}')
    world.sources.files.clear()
    assert world.plan() == first


def test_the_declared_instances_are_used(world: World, catalog: Catalog, sentiment: Endpoint) -> None:
    """A type and a number of their own, and a smaller request, if the endpoint says so."""
    rules = BatchRules(transform_instance_type="ml.g6.xlarge", transform_instances=3, items_per_request_max=2)
    world.catalog = replace(catalog, endpoints={"sentiment": replace(sentiment, batch=rules)})
    step = planned(world, b'{"input": "text"}\n' * 3)
    assert step.transform is not None
    assert step.transform["TransformResources"] == {"InstanceType": "ml.g6.xlarge", "InstanceCount": 3}
    assert [request["inputs"][0]["shape"] for request in lines(world, input_key(TENANT, BATCH, 0))] == [[2], [1]]


def test_without_instances_or_requests_it_is_the_map(world: World) -> None:
    """The endpoint is not there, or no record can be asked: the plan says why it went another way."""
    assert planned(world, b"broken\n").method == "map"
    assert "none of which can be asked" in world.planned.reason
    world.bucket.objects.clear()
    world.hosting.known.clear()
    assert planned(world, b'{"input": "text"}').method == "map"
    assert "not there" in world.planned.reason


def _ask(items: int, size: int, texts: bool) -> Ask:  # noqa: FBT001
    return Ask(1, None, openai=False, items=items, size=size, texts=["t"] * items if texts else None)


ASKS = st.builds(_ask, st.integers(1, 4), st.integers(0, REQUEST_BYTES_MAX), st.booleans())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ASKS, max_size=20))
def test_packing_keeps_order_and_bounds(sentiment: Endpoint, asks: list[Ask]) -> None:
    """Every record once and in order; several only where they are texts, within items and bytes."""
    groups = list(packed(asks, endpoint=sentiment))
    assert [ask for group in groups for ask in group] == asks
    for group in groups:
        assert group
        assert len(group) == 1 or all(ask.texts is not None for ask in group)
        assert len(group) == 1 or sum(ask.items for ask in group) <= sentiment.limits.max_items
        assert len(group) == 1 or sum(ask.size for ask in group) <= REQUEST_BYTES_MAX
