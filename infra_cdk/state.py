"""The table that functions share: limits, circuits, cached answers, idempotency records, jobs.

Keys are `pk` and `sk`, and what belongs to a tenant has the tenant in `pk`. One partition takes 1,000 writes and 3,000
strongly consistent reads of a kilobyte per second whatever the table is billed by (DynamoDB developer guide, "Burst
and adaptive capacity"): a hot key is leased from, or split over several items, before it comes near.
"""

from __future__ import annotations

from aws_cdk import RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_kms as kms
from constructs import Construct

from infra_cdk.nag import acknowledge
from infra_cdk.observability import PERIOD, alarm
from infra_cdk.stages import StageSettings

EXPIRY_ATTRIBUTE = "expires_at"
OPERATIONS = ("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "Query")
"""What functions call, and may be allowed to."""
TRANSACTION = "TransactWriteItems"
"""An operation as well; the rights that it asks for are those of the writes in it."""


class State(Construct):
    """The state table and what watches it."""

    def __init__(self, scope: Construct, id_: str, *, stage: StageSettings, key: kms.Key) -> None:
        super().__init__(scope, id_)
        self.table = dynamodb.Table(
            self,
            "Table",
            table_name=f"{stage.prefix}-state",
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            time_to_live_attribute=EXPIRY_ATTRIBUTE,
            billing_mode=dynamodb.BillingMode.PAY_PER_REQUEST,
            encryption=dynamodb.TableEncryption.CUSTOMER_MANAGED,
            encryption_key=key,
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=stage.keep_data
            ),
            deletion_protection=stage.keep_data,
            removal_policy=RemovalPolicy.RETAIN if stage.keep_data else RemovalPolicy.DESTROY,
        )
        if not stage.keep_data:
            acknowledge(
                self.table, "AwsSolutions-DDB3", "this stage keeps no data, and what is here expires within days"
            )

    @property
    def throttled(self) -> cloudwatch.MathExpression:
        """Reads and writes that DynamoDB refused because a partition, or the table, had had enough."""
        return self._summed(
            [("ReadThrottleEvents", None), ("WriteThrottleEvents", None)], label="state reads and writes throttled"
        )

    @property
    def failed(self) -> cloudwatch.MathExpression:
        """Calls that DynamoDB itself failed on, which it counts by operation."""
        operations = (*OPERATIONS, TRANSACTION)
        return self._summed([("SystemErrors", operation) for operation in operations], label="state system errors")

    def watch(self) -> None:
        """Alarms for what makes limits, circuits and caches fall back to each process's own.

        Refused conditions are no fault: a limit that is reached is one.
        """
        for name, metric, says in (
            ("Throttles", self.throttled, "is throttled: a key is hotter than one partition allows"),
            ("Errors", self.failed, "answers with errors of DynamoDB's own"),
        ):
            alarm(self, name, metric, above=0, says=f"The state table {says}")

    def _summed(self, counts: list[tuple[str, str | None]], *, label: str) -> cloudwatch.MathExpression:
        metrics = {
            f"count{index}": cloudwatch.Metric(
                namespace="AWS/DynamoDB",
                metric_name=name,
                dimensions_map={"TableName": self.table.table_name, **({"Operation": each} if each else {})},
                statistic="Sum",
                period=PERIOD,
            )
            for index, (name, each) in enumerate(counts)
        }
        return cloudwatch.MathExpression(
            expression=" + ".join(f"FILL({each}, 0)" for each in metrics),
            using_metrics=metrics,
            label=label,
            period=PERIOD,
        )
