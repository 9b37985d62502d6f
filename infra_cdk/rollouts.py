"""Progressive delivery: the state machine that looks after rollouts and experiments, and the function that takes turns.

Three things call the function beside its machine: a schedule, which finds rollouts that nobody looks after any more; an
alarm on one version, which is the second net below the evidence; and nothing else. The definition is the file
`state_machines/rollout.asl.json`, the very one that runs on a laptop.
"""

from __future__ import annotations

from pathlib import Path

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from constructs import Construct

from headrace.rollouts.controller import SWEEP_AFTER_S
from infra_cdk.functions import Function, Shared
from infra_cdk.layers import CATALOG_PATH
from infra_cdk.machines import EVENT_BUS, machine_arn, state_machine
from infra_cdk.observability import ERRORS, LATENCY, PERIOD, alarm
from infra_cdk.state import State
from infra_cdk.storage import Storage

DEFINITION = Path(__file__).parent / "state_machines" / "rollout.asl.json"
FLOW = "rollout"
KEEP_ROLLOUTS = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
"""Records, documents, decisions and counts are read, and written whole, several in one transaction; none is deleted.

TransactWriteItems asks for the rights of the writes in it (DynamoDB developer guide, "IAM and transactions").
"""
ALARM_ATTEMPTS = 8
LAMBDA_RETRIES = 2
"""Lambda's most (API reference, PutFunctionEventInvokeConfig)."""
ALARM_AGE_MAX_S = 900
"""An alarm that could not be told within a quarter of an hour is no news: the evidence has long decided."""
_STATE_CHANGE = "CloudWatch Alarm State Change"


class Rollouts(Construct):
    """`rollout_step`, the machine `<prefix>-rollout`, and the two rules that call the function beside it."""

    def __init__(self, scope: Construct, id_: str, *, shared: Shared, storage: Storage, state: State) -> None:
        super().__init__(scope, id_)
        stage = shared.stage
        arn = machine_arn(self, stage=stage, flow=FLOW)
        self.step = Function(
            self,
            "RolloutStep",
            name="rollout_step",
            shared=shared,
            layers=[shared.layers.vendor, shared.layers.core, shared.layers.catalog],
            environment={
                "HEADRACE_PREFIX": stage.prefix,
                "HEADRACE_CATALOG": CATALOG_PATH,
                "HEADRACE_STATE_TABLE": state.table.table_name,
                "HEADRACE_ROLLOUT_MACHINE": arn,
            },
        )
        self.step.allow(KEEP_ROLLOUTS, [state.table.table_arn])
        self.step.allow(["kms:Decrypt", "kms:GenerateDataKey"], [storage.key.key_arn])
        # An execution is replaced before its history is full, and by the sweep when it is gone.
        self.step.allow(["states:StartExecution"], [arn])
        self.role, self.machine = state_machine(
            self,
            stage=stage,
            flow=FLOW,
            definition=DEFINITION,
            places={"RolloutStepFunction": self.step.live.function_arn, "EventBus": EVENT_BUS},
        )
        self._allow_work()
        self._sweep(stage.prefix)
        self._roll_back_by_alarm(stage.prefix)
        self._watch()

    def _allow_work(self) -> None:
        """The one function, and the event at the end."""
        bus = Stack.of(self).format_arn(service="events", resource="event-bus", resource_name=EVENT_BUS)
        self.role.add_to_policy(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[self.step.live.function_arn])
        )
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=["events:PutEvents"],
                resources=[bus],
                conditions={"StringEquals": {"events:source": "headrace"}},
            )
        )

    def _sweep(self, prefix: str) -> None:
        """As often as a rollout may go without being looked at; one sweep that is missed is the next one's."""
        events.Rule(
            self,
            "Sweep",
            rule_name=f"{prefix}-rollout-sweep",
            description="Rollouts that nobody looks after any more get a new execution",
            schedule=events.Schedule.rate(Duration.seconds(SWEEP_AFTER_S)),
            targets=[
                targets.LambdaFunction(
                    self.step.live,
                    event=events.RuleTargetInput.from_object({"sweep": True}),
                    retry_attempts=0,
                )
            ],
        )

    def _roll_back_by_alarm(self, prefix: str) -> None:
        """Whose alarm it is, the function reads in the dimensions of its metrics; others are none of its business.

        What waits too long is dropped on both ways, in EventBridge and in Lambda: it must not meet a later rollout.
        """
        self.step.live.configure_async_invoke(
            retry_attempts=LAMBDA_RETRIES, max_event_age=Duration.seconds(ALARM_AGE_MAX_S)
        )
        names = [{"wildcard": f"{prefix}-*{ending}"} for ending in (ERRORS, LATENCY)]
        events.Rule(
            self,
            "Alarmed",
            rule_name=f"{prefix}-rollout-alarmed",
            description="An alarm on a version rolls back the rollout whose canary it is",
            event_pattern=events.EventPattern(
                source=["aws.cloudwatch"],
                detail_type=[_STATE_CHANGE],
                detail={"alarmName": names, "state": {"value": ["ALARM"]}},
            ),
            targets=[
                targets.LambdaFunction(
                    self.step.live,
                    retry_attempts=ALARM_ATTEMPTS,
                    max_event_age=Duration.seconds(ALARM_AGE_MAX_S),
                )
            ],
        )

    def _watch(self) -> None:
        """An execution that fails leaves its rollout to the sweep: traffic stays as it is, but somebody should look."""
        machine = self.machine
        watched: tuple[tuple[str, cloudwatch.IMetric, str], ...] = (
            ("Failed", machine.metric_failed(statistic="Sum", period=PERIOD), "has failed"),
            ("TimedOut", machine.metric_timed_out(statistic="Sum", period=PERIOD), "was running for two weeks"),
            ("Throttled", machine.metric_throttled(statistic="Sum", period=PERIOD), "is slowed down by Step Functions"),
        )
        for name, metric, says in watched:
            alarm(self, name, metric, above=0, minutes=1, says=f"An execution that looks after a rollout {says}")
