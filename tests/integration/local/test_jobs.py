"""The job flow over real parts: moto's queue, table and bucket, the real `job_run`, and a toy function that serves."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes
from typing import Any

import pytest
from aiohttp import web
from moto.server import ThreadedMotoServer

from headrace.identity import Principal
from headrace.jobs.offers import Jobs, look, offer, result
from headrace.jobs.requests import accept
from headrace.jobs.states import RUN_MAX_S, Job
from headrace_aws import clients
from headrace_aws.admission_tables import SlotsTable
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.jobs_bucket import JobsBucket
from headrace_aws.jobs_queue import JobsQueue
from headrace_aws.jobs_table import JobsTable
from headrace_aws.state_table import StateTable
from infra_local.bootstrap import Account
from infra_local.functions import ROOT
from infra_local.lambda_api import LambdaApi
from infra_local.lambda_environment import FunctionSpec, InvocationResult
from infra_local.lambda_host import LambdaHost
from infra_local.names import Names, aws_environment
from infra_local.plan import Plan
from infra_local.ports import LOOPBACK, free_port
from infra_local.queues import EventSource, failed_items, queue_url

TOYS = Path(__file__).with_name("functions")
NAMES = Names()
PATIENCE_S = 30.0
"""No test here is about a slow store."""
ACME = Principal("acme", "standard", frozenset({"invoke"}), "key")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """moto, served."""
    port = free_port()
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=port, verbose=False)
    server.start()
    yield f"http://{LOOPBACK}:{port}"
    server.stop()


@dataclass
class Flow:
    """Both ends of the flow."""

    jobs: Jobs
    sqs: Any

    def offer(self, **query: str) -> Job:
        """A job whose request asks the toy for something."""
        event = {
            "httpMethod": "POST",
            "multiValueHeaders": {"Content-Type": ["application/json"]},
            "multiValueQueryStringParameters": {name: [value] for name, value in query.items()},
            "body": '{"input": "x"}',
            "isBase64Encoded": False,
        }
        return offer(self.jobs, accept(event, ACME, path="/v1/classifications"), waiting_max=100)

    async def until(self, job: Job, reached: Callable[[Job], bool]) -> Job:
        """The job once it is so; the test's own timeout bounds this."""
        while not reached(now := await asyncio.to_thread(look, self.jobs, ACME, job.job_id)):  # noqa: ASYNC110 - it is elsewhere
            await asyncio.sleep(0.1)
        return now

    async def until_queue(self, *, hidden: int) -> None:
        """Comes back once no message waits and so many are hidden; the test's own timeout bounds this."""
        while await asyncio.to_thread(self._waiting) != (0, hidden):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.1)

    def _waiting(self) -> tuple[int, int]:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = self.sqs.get_queue_url(QueueName=NAMES.jobs_queue)["QueueUrl"]
        found = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return int(found[names[0]]), int(found[names[1]])


@asynccontextmanager
async def running(moto: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Flow]:
    """The flow, with `job_run` on the queue and `toys.proxy` as what serves."""
    port = free_port()
    aws = dict(aws_environment(moto=moto, lambda_api=f"http://{LOOPBACK}:{port}", sagemaker_runtime=moto))
    for name, value in aws.items():
        monkeypatch.setenv(name, value)
    clients.client.cache_clear()
    account = Account(NAMES, aws=aws)
    await asyncio.to_thread(account.build, Plan(()))
    url = queue_url(moto, NAMES.jobs_queue)
    environment = {
        **aws,
        "HEADRACE_STAGE": "local",
        "HEADRACE_STATE_TABLE": NAMES.state_table,
        "HEADRACE_JOBS_BUCKET": NAMES.jobs_bucket,
        "HEADRACE_JOBS_QUEUE": url,
        "HEADRACE_NOTICES_QUEUE": queue_url(moto, NAMES.notices_queue),
        "HEADRACE_PREDICT_FUNCTION": NAMES.predict,
        "POWERTOOLS_SERVICE_NAME": "job_run",
    }
    host = LambdaHost(
        [
            FunctionSpec(name=NAMES.predict, handler="toys.proxy", root=TOYS),
            FunctionSpec(
                name=NAMES.job_run,
                handler="functions.job_run.handler.handler",
                root=ROOT,
                search_path=(ROOT / "layers" / "core" / "python",),
                environment=environment,
                timeout_s=RUN_MAX_S,
            ),
        ],
        log_folder=folder,
    )
    await host.start()
    api = web.Server(LambdaApi(host), access_log=None)
    server = await asyncio.get_running_loop().create_server(api, LOOPBACK, port)
    source = EventSource(
        host, function=NAMES.job_run, sqs=lambda: account.client("sqs"), url=url, batch_max=3, concurrency_max=2
    )
    source.start()
    table = StateTable(NAMES.state_table, timeout_s=PATIENCE_S)
    table.warm()
    records = JobsTable(table)
    jobs = Jobs(
        records=records,
        lists=records,
        objects=JobsBucket(NAMES.jobs_bucket, calls=BoundedCalls()),
        queue=JobsQueue(url, calls=BoundedCalls()),
        places=SlotsTable(table),
        wall=time.time,
        sleep=time.sleep,
        random_bytes=token_bytes,
    )
    try:
        yield Flow(jobs, account.client("sqs"))
    finally:
        await source.stop()
        await api.shutdown(0.1)
        server.close()
        await host.stop(grace_s=0)
        clients.client.cache_clear()


@pytest.mark.asyncio
async def test_jobs_are_run_answered_and_their_messages_deleted(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each ends with the function's own answer to the very event that the gateway would have sent."""
    async with running(moto, tmp_path, monkeypatch) as flow:
        jobs = [flow.offer(number=str(number)) for number in range(5)]
        for number, job in enumerate(jobs):
            done = await flow.until(job, lambda now: now.state == "done")
            answer = result(flow.jobs, done)
            assert answer is not None
            event = json.loads(answer.body)
            assert (answer.status, event["queryStringParameters"]) == (200, {"number": str(number)})
            assert event["requestContext"]["authorizer"]["tenant"] == "acme"
            assert event["requestContext"]["requestId"] == job.job_id
        await flow.until_queue(hidden=0)


@pytest.mark.asyncio
async def test_a_job_that_cannot_be_served_now_stays_in_the_queue(
    moto: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The function fails: the record says so, the message is hidden for its pause, and its neighbours are done."""
    async with running(moto, tmp_path, monkeypatch) as flow:
        broken, whole = flow.offer(answer="raise"), flow.offer()
        await flow.until(whole, lambda now: now.state == "done")
        found = await flow.until(broken, lambda now: (now.state, now.attempts) == ("queued", 1))
        assert found.code == "internal_error"
        await flow.until_queue(hidden=1)
    written = await asyncio.to_thread((tmp_path / f"lambda-{NAMES.job_run}.log").read_text)
    assert broken.job_id in written
    assert "input" not in written


@pytest.mark.parametrize(
    ("result_", "failed"),
    [
        (InvocationResult(b'{"batchItemFailures": []}'), set()),
        (InvocationResult(b"null"), set()),
        (InvocationResult(b"{}"), set()),
        (InvocationResult(b'{"batchItemFailures": null}'), set()),
        (InvocationResult(b'{"batchItemFailures": [{"itemIdentifier": "a"}]}'), {"a"}),
        (InvocationResult(b'{"batchItemFailures": [{"itemIdentifier": "z"}]}'), {"a", "b"}),
        (InvocationResult(b'{"batchItemFailures": [{"itemIdentifier": ""}]}'), {"a", "b"}),
        (InvocationResult(b'{"batchItemFailures": [{"other": "a"}]}'), {"a", "b"}),
        (InvocationResult(b'"text"'), {"a", "b"}),
        (InvocationResult(b'{"batchItemFailures": []}', "Unhandled"), {"a", "b"}),
    ],
)
def test_what_a_batch_leaves_is_as_on_lambda(result_: InvocationResult, failed: set[str]) -> None:
    """Named items come again; an error, or an answer that makes no sense, brings the whole batch back."""
    assert failed_items(result_, frozenset({"a", "b"})) == failed
