"""Queues in moto, and their event source mappings: what stands between SQS and a function on AWS.

moto has mappings too, but hands a message on once, while it is being sent: one that failed, or that was told to come
later, never comes. Here a queue is polled as Lambda does it (AWS Lambda developer guide, "Using Lambda with Amazon
SQS"): batches, partial batch responses, and what succeeded is deleted.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from headrace import notices
from headrace.jobs import states as jobs
from headrace.rollouts import shadowing
from infra_local.lambda_environment import ACCOUNT, REGION, InvocationResult
from infra_local.lambda_host import InvokeRefusedError, LambdaHost

POLL_S = 1
"""How long one receive waits for messages; the platform stops no sooner."""
PAUSE_S = 1.0
"""After a receive that failed: moto may be about to come back."""
DEAD_LETTER_RETENTION_S = 14 * 86_400


def make_queues(
    sqs: Any, *, queue: str, dead_letters: str, visibility_s: float, kept_s: float, receives_max: int
) -> None:
    """Makes a queue and its dead letters as the CDK app does; what exists already stays.

    Args:
        sqs: A boto3 client.
        queue: The queue's name.
        dead_letters: Where a message goes that was received too often.
        visibility_s: How long a message that is being worked on is not delivered again.
        kept_s: How long a message waits at most.
        receives_max: How often it is delivered at most.
    """
    made = sqs.create_queue(QueueName=dead_letters, Attributes={"MessageRetentionPeriod": str(DEAD_LETTER_RETENTION_S)})
    dead = sqs.get_queue_attributes(QueueUrl=made["QueueUrl"], AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = {"deadLetterTargetArn": dead, "maxReceiveCount": receives_max}
    sqs.create_queue(
        QueueName=queue,
        Attributes={
            "VisibilityTimeout": str(int(visibility_s)),
            "MessageRetentionPeriod": str(int(kept_s)),
            "RedrivePolicy": json.dumps(redrive),
        },
    )


def make_job_queues(sqs: Any, *, queue: str, dead_letters: str) -> None:
    """Makes the queues of jobs."""
    make_queues(
        sqs,
        queue=queue,
        dead_letters=dead_letters,
        visibility_s=jobs.VISIBILITY_S,
        kept_s=2 * jobs.AGE_MAX_S,
        receives_max=jobs.RECEIVES_MAX,
    )


def make_notice_queues(sqs: Any, *, queue: str, dead_letters: str) -> None:
    """Makes the queues of ends that are to be told."""
    make_queues(
        sqs,
        queue=queue,
        dead_letters=dead_letters,
        visibility_s=notices.VISIBILITY_S,
        kept_s=2 * notices.KEPT_S,
        receives_max=notices.TRIES_MAX,
    )


def make_shadow_queue(sqs: Any, *, queue: str) -> None:
    """Makes the queue of copied requests; what could not be compared is nobody's concern, and has no dead letters."""
    sqs.create_queue(
        QueueName=queue,
        Attributes={
            "VisibilityTimeout": str(int(shadowing.VISIBILITY_S)),
            "MessageRetentionPeriod": str(int(shadowing.KEPT_S)),
        },
    )


def queue_url(moto: str, name: str) -> str:
    """Where a queue of moto's is."""
    return f"{moto}/{ACCOUNT}/{name}"


class EventSource:
    """Polls one queue and invokes one function.

    Args:
        host: Where the function runs.
        function: Its name.
        sqs: Makes a boto3 client of SQS; called in a thread.
        url: The queue.
        batch_max: Messages per invocation.
        concurrency_max: Invocations at a time.
    """

    def __init__(
        self,
        host: LambdaHost,
        *,
        function: str,
        sqs: Callable[[], Any],
        url: str,
        batch_max: int,
        concurrency_max: int,
    ) -> None:
        self._host = host
        self._function = function
        self._make_client = sqs
        self._url = url
        self._batch_max = batch_max
        self._slots = asyncio.Semaphore(concurrency_max)
        self._tasks: set[asyncio.Task[None]] = set()
        self._poller: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to poll."""
        self._poller = asyncio.ensure_future(self._poll())

    async def stop(self) -> None:
        """Ends polling, and deletes nothing more: what is under way will be delivered again."""
        tasks = [task for task in (self._poller, *self._tasks) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _poll(self) -> None:
        sqs = await asyncio.to_thread(self._make_client)
        while True:
            await self._slots.acquire()
            messages = await self._receive(sqs)
            if not messages:
                self._slots.release()
                continue
            task = asyncio.ensure_future(self._deliver(sqs, messages))
            self._tasks.add(task)
            task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled():
            task.exception()  # looked at: whatever it was, the messages come again

    async def _receive(self, sqs: Any) -> list[dict[str, Any]]:
        try:
            answer = await asyncio.to_thread(
                sqs.receive_message,
                QueueUrl=self._url,
                MaxNumberOfMessages=self._batch_max,
                WaitTimeSeconds=POLL_S,
                AttributeNames=["All"],
            )
        except Exception:  # noqa: BLE001 - moto is away, or not there yet
            await asyncio.sleep(PAUSE_S)
            return []
        messages: list[dict[str, Any]] = answer.get("Messages", [])
        return messages

    async def _deliver(self, sqs: Any, messages: list[dict[str, Any]]) -> None:
        arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self._url.rpartition('/')[2]}"
        event = {"Records": [_record(message, arn) for message in messages]}
        try:
            result = await self._host.invoke(self._function, json.dumps(event).encode())
        except InvokeRefusedError:
            return
        failed = failed_items(result, frozenset(message["MessageId"] for message in messages))
        for message in messages:
            if message["MessageId"] not in failed:
                await asyncio.to_thread(sqs.delete_message, QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])


def failed_items(result: InvocationResult, sent: frozenset[str]) -> frozenset[str]:
    """Returns the messages that must come again: those that the answer names, or all when it makes no sense.

    Args:
        result: What the function answered.
        sent: The ids of the batch.
    """
    if result.function_error is not None:
        return sent
    try:
        answer = json.loads(result.payload)
        named = [item["itemIdentifier"] for item in (answer or {}).get("batchItemFailures") or ()]
    except (ValueError, KeyError, TypeError, AttributeError):
        return sent
    return frozenset(named) if sent.issuperset(named) else sent


def _record(message: dict[str, Any], arn: str) -> dict[str, Any]:
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message.get("Attributes", {}),
        "messageAttributes": {},
        "md5OfBody": message["MD5OfBody"],
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": REGION,
    }
