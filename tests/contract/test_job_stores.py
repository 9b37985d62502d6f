"""The job flow's fakes and AWS adapters keep the same contracts: records, objects, and the queue."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import pytest

from headrace.errors import PayloadTooLarge, StoreUnavailable
from headrace.fakes.jobs import FakeJobObjects, FakeJobRecords
from headrace.jobs.offers import JobLists, JobObjects, JobRecords
from headrace.jobs.states import Job, JobState, accepted, result_key
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.clients import client
from headrace_aws.jobs_bucket import JobsBucket
from headrace_aws.jobs_queue import Delivery, JobsQueue, read_message
from headrace_aws.jobs_table import JobsTable
from headrace_aws.state_table import StateTable
from infra_local.queues import make_job_queues
from tests.contract.conftest import make_state_table

TABLE, BUCKET = "state", "jobs"
JOB = accepted("acme", now=1_700_000_000.25, random_bytes=bytes)
KEY = result_key("acme", JOB.job_id)


@pytest.fixture(params=["fake", "dynamodb"])
def records(request: pytest.FixtureRequest) -> Iterator[JobRecords]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeJobRecords()
        return
    request.getfixturevalue("aws")
    make_state_table()
    table = StateTable(TABLE, timeout_s=10)  # a busy machine is no outage
    table.warm()
    yield JobsTable(table)


@pytest.fixture(params=["fake", "s3"])
def objects(request: pytest.FixtureRequest) -> Iterator[JobObjects]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeJobObjects()
        return
    request.getfixturevalue("aws")
    client("s3", read_timeout_s=2.0).create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
    )
    yield JobsBucket(BUCKET, calls=BoundedCalls())


def test_a_record_is_read_as_it_was_written(records: JobRecords) -> None:
    """Every field survives, times to the millisecond; an unknown id is None."""
    job = replace(
        JOB, state="running", attempts=2, lease_until=1_700_000_060.5, status=503, code="overloaded", key_id="k"
    )
    job = replace(job, ended_at=1_700_000_061.125, webhook="https://example.com/", told=True, place=3)
    records.create(job)
    assert records.get("acme", job.job_id) == job
    assert records.get("acme", "missing") is None


def test_no_tenant_reads_anothers_record(records: JobRecords) -> None:
    """The tenant is part of the key: with a right id and another tenant there is nothing."""
    records.create(JOB)
    assert records.get("other", JOB.job_id) is None
    assert records.get("acme#x", JOB.job_id) is None


def test_an_id_is_never_taken_twice(records: JobRecords) -> None:
    """A second record of the same id is refused and changes nothing."""
    records.create(JOB)
    with pytest.raises(StoreUnavailable):
        records.create(replace(JOB, attempts=5))
    assert records.get("acme", JOB.job_id) == JOB


def test_a_record_moves_only_from_the_state_that_was_read(records: JobRecords) -> None:
    """State and attempts must both be as the mover saw them; a record that is not there does not move."""
    running = replace(JOB, state="running", attempts=1)
    assert not records.move(JOB, running)
    records.create(JOB)
    assert records.move(JOB, running)
    assert not records.move(JOB, running)
    assert not records.move(replace(running, attempts=2), replace(running, state="done"))
    assert records.get("acme", JOB.job_id) == running


def test_of_many_movers_one_wins(records: JobRecords) -> None:
    """Whoever reads the same state, one of them goes on."""
    records.create(JOB)
    moves = [records.move(JOB, Job("acme", JOB.job_id, 1.0, state="running", attempts=1)) for _ in range(5)]
    assert moves.count(True) == 1


def test_every_state_survives(records: JobRecords) -> None:
    """What a job may become can be written and read again."""
    for number, state in enumerate(get_args(JobState)):
        job = replace(JOB, job_id=f"job_{number:022}", state=state)
        records.create(job)
        assert records.get("acme", job.job_id) == job


def test_the_newest_jobs_come_first(records: JobRecords) -> None:
    """Ids sort as their jobs were accepted: pages go backwards in time, and never into another tenant's."""
    jobs = [accepted("acme", now=1_700_000_000 + 0.001 * step, random_bytes=bytes) for step in range(5)]
    for job in (*jobs[::2], *jobs[1::2], accepted("other", now=1_700_000_000.0, random_bytes=bytes)):
        records.create(job)
    lists: JobLists = records  # type: ignore[assignment]
    backwards = [job.job_id for job in reversed(jobs)]
    assert [job.job_id for job in lists.newest("acme", limit=10)] == backwards
    assert [job.job_id for job in lists.newest("acme", limit=2)] == backwards[:2]
    assert [job.job_id for job in lists.newest("acme", limit=2, after=backwards[1])] == backwards[2:4]
    assert lists.newest("acme", limit=2, after=backwards[-1]) == []
    assert lists.newest("nobody", limit=2) == []


def test_an_object_is_written_once(objects: JobObjects) -> None:
    """The first writer's bytes stay; what is not there reads as None."""
    assert objects.read(KEY) is None
    assert objects.write_once(KEY, b"\x00first")
    assert not objects.write_once(KEY, b"second")
    assert objects.read(KEY) == b"\x00first"


@pytest.mark.usefixtures("aws")
def test_a_store_that_is_not_there_is_unavailable() -> None:
    """A missing bucket or table is our trouble, never a wrong answer."""
    with pytest.raises(StoreUnavailable):
        JobsBucket("missing", calls=BoundedCalls()).write_once(KEY, b"")
    with pytest.raises(StoreUnavailable):
        JobsTable(StateTable("missing")).get("acme", JOB.job_id)


@pytest.mark.usefixtures("aws")
def test_messages_come_until_they_are_deleted() -> None:
    """A message holds two ids and nothing else; postponed by nothing it is delivered again at once."""
    sqs = client("sqs", read_timeout_s=2.0)
    make_job_queues(sqs, queue="jobs", dead_letters="dead")
    make_job_queues(sqs, queue="jobs", dead_letters="dead")
    url = sqs.get_queue_url(QueueName="jobs")["QueueUrl"]
    queue = JobsQueue(url, calls=BoundedCalls())
    queue.send("acme", JOB.job_id)
    for _ in range(2):
        (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
        assert read_message(message["Body"]) == Delivery("acme", JOB.job_id)
        queue.postpone(message["ReceiptHandle"], seconds=0)
    with pytest.raises(StoreUnavailable):
        queue.postpone("no such handle", seconds=1e9)
    with pytest.raises(StoreUnavailable):
        JobsQueue(f"{url}-missing", calls=BoundedCalls()).send("acme", JOB.job_id)


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"tenant": "a"}', '{"tenant": 1, "job": "x"}', "null"])
def test_another_message_is_none_of_ours(body: str) -> None:
    """What cannot be read is said to be that, without quoting it."""
    with pytest.raises(ValueError, match="not a job's message"):
        read_message(body)


@pytest.mark.usefixtures("aws")
def test_a_look_comes_after_its_pause() -> None:
    """It is a message of its own, hidden for as long as was said, and says which run sent it."""
    sqs = client("sqs", read_timeout_s=2.0)
    make_job_queues(sqs, queue="jobs", dead_letters="dead")
    url = sqs.get_queue_url(QueueName="jobs")["QueueUrl"]
    queue = JobsQueue(url, calls=BoundedCalls())
    queue.send_look("acme", JOB.job_id, after=3, pause_s=1e9)
    assert "Messages" not in sqs.receive_message(QueueUrl=url)
    queue.send_look("acme", JOB.job_id, after=3, pause_s=0)
    (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
    assert read_message(message["Body"]) == Delivery("acme", JOB.job_id, after=3)


def test_an_event_of_the_bucket_names_its_job() -> None:
    """As EventBridge passes it on; an object whose key names no job asks for nothing."""
    key = f"async/output/acme/{JOB.job_id}/0.out"
    event = {"source": "aws.s3", "detail-type": "Object Created", "detail": {"object": {"key": key}}}
    assert read_message(json.dumps(event)) == Delivery("acme", JOB.job_id, arrived=True)
    event["detail"] = {"object": {"key": f"async/failed/{JOB.job_id}-error.out"}}
    assert read_message(json.dumps(event)) is None
    with pytest.raises(ValueError, match="not a job's message"):
        read_message('{"source": "aws.s3"}')


def test_a_large_object_is_not_read(objects: JobObjects) -> None:
    """What others write is read within a bound; what is not there is None."""
    assert isinstance(objects, JobsBucket | FakeJobObjects)
    objects.write_once(KEY, b"12345")
    assert objects.read_within(KEY, bytes_max=5) == b"12345"
    assert objects.read_within("missing", bytes_max=5) is None
    with pytest.raises(PayloadTooLarge):
        objects.read_within(KEY, bytes_max=4)
