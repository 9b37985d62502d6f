"""Batches: an upload or a call starts the state machine, which plans, scores and finishes through three functions.

The state machine is the file `state_machines/batch.asl.json`, the very one that runs on a laptop; names are put in at
deployment. Records and answers are objects in the buckets: what passes through Step Functions, and may be logged there,
is metadata.
"""

from __future__ import annotations

from pathlib import Path

from aws_cdk import ArnFormat, Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda_destinations as destinations
from constructs import Construct

from headrace.batches.bounds import SHARDS_AT_ONCE
from infra_cdk.batch_functions import TRANSFORM_JOBS, UPLOADED, BatchFunctions
from infra_cdk.functions import logical_id
from infra_cdk.machines import EVENT_BUS, machine_arn, state_machine
from infra_cdk.nag import acknowledge, where
from infra_cdk.queues import dead_letter_queue
from infra_cdk.stages import StageSettings
from infra_cdk.storage import Storage

DEFINITION = Path(__file__).parent / "state_machines" / "batch.asl.json"
FLOW = "batch"
MAP_LABEL = "Shards"
"""The definition's label of its map: part of the names of the executions below it."""
SHARD_LISTS = "tenants/*/batches/*/shards*.json"
"""`headrace.batches.layout.shards_key` of any batch."""
START_ATTEMPTS = 8
START_AGE_MAX_S = 3600
_TRANSFORM_RULE = "StepFunctionsGetEventsForSageMakerTransformJobsRule"
"""By which Step Functions learns that a job is over (Step Functions developer guide, SageMaker AI integration)."""


class Batches(Construct):
    """The state machine with its role and log, and the rule that starts batches from uploads."""

    def __init__(
        self, scope: Construct, id_: str, *, stage: StageSettings, storage: Storage, functions: BatchFunctions
    ) -> None:
        super().__init__(scope, id_)
        self._stage, self._storage, self._functions = stage, storage, functions
        self.role, self.machine = state_machine(
            self,
            stage=stage,
            flow=FLOW,
            definition=DEFINITION,
            places={
                "PlanFunction": functions.plan.live.function_arn,
                "ScoreFunction": functions.score.live.function_arn,
                "FinishFunction": functions.finish.live.function_arn,
                "BatchesBucket": storage.batches.bucket_name,
                "EventBus": EVENT_BUS,
                "ShardsAtOnce": str(SHARDS_AT_ONCE),
            },
        )
        self._allow_work()
        self._allow_shards()
        self._allow_transform()
        self._start_from_uploads()

    def _allow(self, actions: list[str], *resources: str, when: dict[str, dict[str, str]] | None = None) -> None:
        self.role.add_to_policy(iam.PolicyStatement(actions=actions, resources=list(resources), conditions=when))

    def _allow_work(self) -> None:
        """Three functions, the lists to map over, and the event at the end."""
        functions, storage = self._functions, self._storage
        steps = (functions.plan, functions.score, functions.finish)
        self._allow(["lambda:InvokeFunction"], *(step.live.function_arn for step in steps))
        self._allow(["s3:GetObject"], storage.batches.arn_for_objects(SHARD_LISTS))
        self._allow(["kms:Decrypt"], storage.key.key_arn)
        bus = Stack.of(self).format_arn(service="events", resource="event-bus", resource_name=EVENT_BUS)
        self._allow(["events:PutEvents"], bus, when={"StringEquals": {"events:source": "headrace"}})
        acknowledge(
            self.role,
            f"AwsSolutions-IAM5[Resource::<{logical_id(storage.batches)}.Arn>/{SHARD_LISTS}]",
            "the map reads one list of shards per batch, named at run time; no other object of a batch matches",
        )

    def _allow_shards(self) -> None:
        """A distributed map starts its own machine's executions (Step Functions developer guide, Distributed Map)."""
        stack, name = Stack.of(self), f"{self._stage.prefix}-batch"
        self._allow(["states:StartExecution"], machine_arn(self, stage=self._stage, flow=FLOW))
        for below in (f"{name}:*", f"{name}/{MAP_LABEL}:*"):
            execution = stack.format_arn(
                service="states",
                resource="execution",
                resource_name=below,
                arn_format=ArnFormat.COLON_RESOURCE_NAME,
            )
            self._allow(["states:DescribeExecution", "states:StopExecution"], execution)
            acknowledge(
                self.role,
                f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:states:{where(stack)}:execution:{below}]",
                "executions are named at run time; these are the machine's own",
            )

    def _allow_transform(self) -> None:
        """Jobs named after batches, the rule that Step Functions follows them by, and the tags that it gives them."""
        stack, jobs = Stack.of(self), f"{self._stage.prefix}-{TRANSFORM_JOBS}"
        arn = stack.format_arn(service="sagemaker", resource="transform-job", resource_name=jobs)
        kinds = ("CreateTransformJob", "DescribeTransformJob", "StopTransformJob", "AddTags", "ListTags")
        self._allow([f"sagemaker:{kind}" for kind in kinds], arn)
        rule = stack.format_arn(service="events", resource="rule", resource_name=_TRANSFORM_RULE)
        self._allow(["events:PutTargets", "events:PutRule", "events:DescribeRule"], rule)
        acknowledge(
            self.role,
            f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:sagemaker:{where(stack)}:transform-job/{jobs}]",
            "jobs are named after their batches at run time",
        )

    def _start_from_uploads(self) -> None:
        """S3 tells of an object below `tenants/*/incoming/`: at least once, in no order; the batch's id makes it one.

        Two ways lead to the dead letters: EventBridge cannot hand the event over, or the function keeps failing on it.
        """
        start = self._functions.start
        dead = dead_letter_queue(
            self,
            "StartDeadLetters",
            name=f"{self._stage.prefix}-batch-start-dead",
            above=0,
            says="Uploads have not become batches: look at the dead letters",
        )
        acknowledge(dead, "AwsSolutions-SQS3", "it is a dead-letter queue: of a rule's target, and of a function")
        start.live.configure_async_invoke(
            on_failure=destinations.SqsDestination(dead),
            retry_attempts=2,
            max_event_age=Duration.seconds(START_AGE_MAX_S),
        )
        events.Rule(
            self,
            "Uploaded",
            rule_name=f"{self._stage.prefix}-batch-uploaded",
            description="Files below tenants/<tenant>/incoming/ become batches",
            event_pattern=events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [self._storage.inputs.bucket_name]},
                    "object": {"key": [{"wildcard": UPLOADED}]},
                },
            ),
            targets=[
                targets.LambdaFunction(
                    start.live,
                    dead_letter_queue=dead,
                    retry_attempts=START_ATTEMPTS,
                    max_event_age=Duration.seconds(START_AGE_MAX_S),
                )
            ],
        )
