"""Copies of requests for versions whose answers nobody sees: the queue, the function that compares, what they may do.

Nothing here may cost a caller anything, and nothing is kept: a copy goes within a day, its message within the hour, and
what could not be compared is one comparison less. So there are no dead letters.
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_lambda_event_sources as sources
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from headrace.rollouts.copies import PREFIX
from headrace.rollouts.shadowing import BATCH_MAX, KEPT_S, VISIBILITY_S
from infra_cdk.functions import Function, Shared
from infra_cdk.layers import CATALOG_PATH
from infra_cdk.nag import acknowledge
from infra_cdk.state import State
from infra_cdk.storage import Storage

AT_ONCE_MIN = 2
"""The least that a mapping takes (Lambda API reference, ScalingConfig); a stage without reserved concurrency has it."""
COPIES = f"{PREFIX}*"


class Shadows(Construct):
    """The flow: `predict` copies, the queue tells, `shadow` asks and counts."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        shared: Shared,
        storage: Storage,
        state: State,
        predict: Function,
        invocable: list[str],
    ) -> None:
        super().__init__(scope, id_)
        stage = shared.stage
        self.queue = sqs.Queue(
            self,
            "Queue",
            queue_name=f"{stage.prefix}-shadow",
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            enforce_ssl=True,
            visibility_timeout=Duration.seconds(VISIBILITY_S),
            retention_period=Duration.seconds(KEPT_S),
        )
        acknowledge(self.queue, "AwsSolutions-SQS3", "a comparison that could not be made is not made again")

        predict.function.add_environment("HEADRACE_SHADOW_QUEUE", self.queue.queue_url)
        predict.allow(["sqs:SendMessage"], [self.queue.queue_arn])
        predict.allow_objects(storage.jobs, COPIES, actions=["s3:PutObject"], key=storage.key)

        self.shadow = Function(
            self,
            "Shadow",
            name="shadow",
            shared=shared,
            layers=[shared.layers.vendor, shared.layers.core, shared.layers.catalog],
            environment={
                "HEADRACE_PREFIX": stage.prefix,
                "HEADRACE_CATALOG": CATALOG_PATH,
                "HEADRACE_JOBS_BUCKET": storage.jobs.bucket_name,
                "HEADRACE_STATE_TABLE": state.table.table_name,
            },
        )
        self.shadow.allow(["sagemaker:InvokeEndpoint"], invocable)
        # Counts and marks are written, and read by others.
        self.shadow.allow(["dynamodb:PutItem"], [state.table.table_arn])
        self.shadow.allow(["kms:GenerateDataKey"], [storage.key.key_arn])
        self.shadow.allow_objects(storage.jobs, COPIES, actions=["s3:GetObject", "s3:DeleteObject"], key=storage.key)
        self.shadow.live.add_event_source(
            sources.SqsEventSource(
                self.queue,
                batch_size=BATCH_MAX,
                report_batch_item_failures=True,
                max_concurrency=stage.functions["shadow"].reserved_concurrency or AT_ONCE_MIN,
            )
        )
