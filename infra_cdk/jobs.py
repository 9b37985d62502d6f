"""Requests accepted for later: the queue with its dead letters, the function that runs them, and what watches both.

Messages hold ids and nothing of a request, so that the keys that SQS manages will do.
"""

from __future__ import annotations

from aws_cdk import Duration, Stack
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from headrace.jobs.states import AGE_MAX_S, BATCH_MAX, RECEIVES_MAX, VISIBILITY_S
from infra_cdk.functions import TENANT_OBJECTS, Function, Shared
from infra_cdk.nag import acknowledge
from infra_cdk.observability import alarm
from infra_cdk.state import State
from infra_cdk.storage import Storage

AT_ONCE_MIN = 2
"""The least that a mapping takes (Lambda API reference, ScalingConfig); a stage without reserved concurrency has it."""
OLDEST_MAX_S = 900
"""A quarter of an hour: jobs are taken more slowly than they come, or not at all."""
_DEAD_LETTER_DAYS = 14


class Jobs(Construct):
    """The flow: `predict` accepts, the queue keeps, `job_run` serves through `predict`, and dead letters are seen."""

    def __init__(
        self, scope: Construct, id_: str, *, shared: Shared, storage: Storage, state: State, predict: Function
    ) -> None:
        super().__init__(scope, id_)
        self._bucket, self._key = storage.jobs, storage.key
        self._make_queues(prefix=shared.stage.prefix)
        queue = self.queue

        predict.function.add_environment("HEADRACE_JOBS_BUCKET", storage.jobs.bucket_name)
        predict.function.add_environment("HEADRACE_JOBS_QUEUE", queue.queue_url)
        predict.allow(["sqs:SendMessage"], [queue.queue_arn])
        self._allow_objects(predict)

        self.run = Function(
            self,
            "JobRun",
            name="job_run",
            shared=shared,
            layers=[shared.layers.vendor, shared.layers.core],
            environment={
                "HEADRACE_STATE_TABLE": state.table.table_name,
                "HEADRACE_JOBS_BUCKET": storage.jobs.bucket_name,
                "HEADRACE_JOBS_QUEUE": queue.queue_url,
                "HEADRACE_PREDICT_FUNCTION": predict.live.function_arn,
            },
        )
        self.run.allow(["dynamodb:GetItem", "dynamodb:PutItem"], [state.table.table_arn])
        self.run.allow(["lambda:InvokeFunction"], [predict.live.function_arn])
        self._allow_objects(self.run)
        self.run.live.add_event_source(
            sources.SqsEventSource(
                queue,
                batch_size=BATCH_MAX,
                report_batch_item_failures=True,
                max_concurrency=shared.stage.functions["job_run"].reserved_concurrency or AT_ONCE_MIN,
            )
        )

    def _make_queues(self, *, prefix: str) -> None:
        self.dead_letters = sqs.Queue(
            self,
            "DeadLetters",
            queue_name=f"{prefix}-jobs-dead",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            retention_period=Duration.days(_DEAD_LETTER_DAYS),
        )
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=f"{prefix}-jobs",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(VISIBILITY_S),
            # Longer than a job may wait: it is this side that says that one has expired.
            retention_period=Duration.seconds(2 * AGE_MAX_S),
            dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letters, max_receive_count=RECEIVES_MAX),
        )
        alarm(
            self,
            "Oldest",
            self.queue.metric_approximate_age_of_oldest_message(period=Duration.minutes(1), statistic="Maximum"),
            above=OLDEST_MAX_S,
            says=f"The oldest job has waited for more than {OLDEST_MAX_S} seconds",
        )
        alarm(
            self,
            "Dead",
            self.dead_letters.metric_approximate_number_of_messages_visible(
                period=Duration.minutes(1), statistic="Maximum"
            ),
            above=0,
            says="Jobs have failed for good: look at the dead letters",
        )

    def _allow_objects(self, function: Function) -> None:
        """Let it write requests and answers of jobs, and read them; nobody may delete one or list them."""
        function.allow(["s3:GetObject", "s3:PutObject"], [self._bucket.arn_for_objects(TENANT_OBJECTS)])
        function.allow(["kms:Decrypt", "kms:GenerateDataKey"], [self._key.key_arn])
        logical = Stack.of(self).get_logical_id(self._bucket.node.default_child)
        acknowledge(
            function.role,
            f"AwsSolutions-IAM5[Resource::<{logical}.Arn>/{TENANT_OBJECTS}]",
            "objects are named at run time; the bucket and the part of it are fixed",
        )
