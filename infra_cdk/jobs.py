"""Requests accepted for later: the queue with its dead letters, the function that runs them, and what watches both."""

from __future__ import annotations

from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_lambda_event_sources as sources
from constructs import Construct

from headrace.jobs.asynchronous import FAILED_PREFIX, INPUT_PREFIX, OUTPUT_PREFIX, SENT_PREFIX
from headrace.jobs.states import AGE_MAX_S, BATCH_MAX, RECEIVES_MAX, VISIBILITY_S
from infra_cdk.functions import READ_AND_WRITE, TENANT_OBJECTS, Function, Shared
from infra_cdk.queues import dead_letter_queue, queue, watch_age
from infra_cdk.state import State
from infra_cdk.storage import Storage

AT_ONCE_MIN = 2
"""The least that a mapping takes (Lambda API reference, ScalingConfig); a stage without reserved concurrency has it."""
OLDEST_MAX_S = 900
"""A quarter of an hour: jobs are taken more slowly than they come, or not at all."""


class Jobs(Construct):
    """The flow: `predict` accepts, the queue keeps, `job_run` serves through `predict`, and dead letters are seen."""

    def __init__(
        self, scope: Construct, id_: str, *, shared: Shared, storage: Storage, state: State, predict: Function
    ) -> None:
        super().__init__(scope, id_)
        self._make_queues(prefix=shared.stage.prefix)

        predict.function.add_environment("HEADRACE_JOBS_BUCKET", storage.jobs.bucket_name)
        predict.function.add_environment("HEADRACE_JOBS_QUEUE", self.queue.queue_url)
        predict.allow(["sqs:SendMessage"], [self.queue.queue_arn])
        predict.allow_objects(storage.jobs, TENANT_OBJECTS, actions=READ_AND_WRITE, key=storage.key)

        self.run = Function(
            self,
            "JobRun",
            name="job_run",
            shared=shared,
            layers=[shared.layers.vendor, shared.layers.core],
            environment={
                "HEADRACE_STATE_TABLE": state.table.table_name,
                "HEADRACE_JOBS_BUCKET": storage.jobs.bucket_name,
                "HEADRACE_JOBS_QUEUE": self.queue.queue_url,
                "HEADRACE_PREDICT_FUNCTION": predict.live.function_arn,
            },
        )
        # Records are read and written whole; a tenant's count of waiting jobs is updated.
        self.run.allow([f"dynamodb:{each}Item" for each in ("Get", "Put", "Update")], [state.table.table_arn])
        # It sends itself the next look for what an asynchronous endpoint has not answered yet.
        self.run.allow(["sqs:SendMessage"], [self.queue.queue_arn])
        self.run.allow(["lambda:InvokeFunction"], [predict.live.function_arn])
        self.run.allow_objects(storage.jobs, TENANT_OBJECTS, actions=READ_AND_WRITE, key=storage.key)
        self.run.live.add_event_source(
            sources.SqsEventSource(
                self.queue,
                batch_size=BATCH_MAX,
                report_batch_item_failures=True,
                max_concurrency=shared.stage.functions["job_run"].reserved_concurrency or AT_ONCE_MIN,
            )
        )

    def serve_by(self, arns: list[str], *, predict: Function, storage: Storage) -> None:
        """Have jobs served by the asynchronous endpoints `arns`: `predict` sends, S3 tells the queue of answers.

        The event is quick and may be lost: the job looks by itself as well, at growing intervals.
        """
        if not arns:
            return
        predict.allow(["sagemaker:InvokeEndpointAsync"], arns)
        for pattern, actions in (
            (f"{INPUT_PREFIX}*", ["s3:PutObject"]),
            (f"{SENT_PREFIX}*", READ_AND_WRITE),
            (f"{OUTPUT_PREFIX}*", ["s3:GetObject"]),
            (f"{FAILED_PREFIX}*", ["s3:GetObject"]),
        ):
            predict.allow_objects(storage.jobs, pattern, actions=actions, key=storage.key)
        events.Rule(
            self,
            "Answered",
            description="What asynchronous endpoints have written goes to the jobs that wait for it",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [storage.jobs.bucket_name]},
                    "object": {"key": [{"prefix": OUTPUT_PREFIX}, {"prefix": FAILED_PREFIX}]},
                },
            ),
            targets=[targets.SqsQueue(self.queue, dead_letter_queue=self.dead_letters)],
        )

    def _make_queues(self, *, prefix: str) -> None:
        self.dead_letters = dead_letter_queue(
            self,
            "DeadLetters",
            name=f"{prefix}-jobs-dead",
            above=0,
            says="Jobs have failed for good: look at the dead letters",
        )
        self.queue = queue(
            self,
            name=f"{prefix}-jobs",
            visibility_s=VISIBILITY_S,
            # Longer than a job may wait: it is this side that says that one has expired.
            retention_s=2 * AGE_MAX_S,
            dead=self.dead_letters,
            receives_max=RECEIVES_MAX,
        )
        watch_age(
            self,
            self.queue,
            above_s=OLDEST_MAX_S,
            says=f"The oldest job has waited for more than {OLDEST_MAX_S} seconds",
        )
