"""What watches batches: alarms on executions that fail, and one page that shows how far the work is behind."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sqs as sqs
from aws_cdk import aws_stepfunctions as sfn
from constructs import Construct

from infra_cdk.functions import Function
from infra_cdk.observability import PERIOD, alarm


def batch_alarms(scope: Construct, machine: sfn.StateMachine) -> list[cloudwatch.Alarm]:
    """An alarm for each way in which an execution ends badly; one is enough, since each is somebody's file."""
    watched = (
        ("Failed", machine.metric_failed(statistic="Sum", period=PERIOD), "failed: its report says why"),
        ("TimedOut", machine.metric_timed_out(statistic="Sum", period=PERIOD), "was still running after its day"),
        ("Throttled", machine.metric_throttled(statistic="Sum", period=PERIOD), "is slowed down by Step Functions"),
    )
    return [alarm(scope, name, metric, above=0, minutes=1, says=f"A batch {says}") for name, metric, says in watched]


def batch_dashboard(
    scope: Construct,
    *,
    prefix: str,
    machine: sfn.StateMachine,
    functions: dict[str, Function],
    notices: sqs.Queue,
    alarms: list[cloudwatch.Alarm],
) -> cloudwatch.Dashboard:
    """One page: what began and how it ended, who is at work, and who has not been told yet."""
    board = cloudwatch.Dashboard(
        scope, "Dashboard", dashboard_name=f"{prefix}-batches", default_interval=Duration.hours(12)
    )
    board.add_widgets(cloudwatch.AlarmStatusWidget(title="Batches", alarms=alarms, width=24, height=3))
    live = {name: function.live for name, function in functions.items()}

    def graph(title: str, metrics: list[cloudwatch.IMetric]) -> cloudwatch.GraphWidget:
        return cloudwatch.GraphWidget(title=title, left=metrics, width=8)

    board.add_widgets(
        graph(
            "Batches begun and ended",
            [
                machine.metric_started(statistic="Sum"),
                machine.metric_succeeded(statistic="Sum"),
                machine.metric_failed(statistic="Sum"),
                machine.metric_aborted(statistic="Sum"),
            ],
        ),
        graph("How long a batch takes (ms)", [machine.metric_time(statistic=each) for each in ("p50", "p99")]),
        graph(
            "Oldest notice (s)",
            [notices.metric_approximate_age_of_oldest_message(period=PERIOD, statistic="Maximum")],
        ),
    )
    board.add_widgets(
        graph(
            "Functions at work",
            [
                each.metric("ConcurrentExecutions", statistic="Maximum", period=PERIOD, label=name)
                for name, each in live.items()
            ],
        ),
        graph("Errors", [each.metric_errors(statistic="Sum", label=name) for name, each in live.items()]),
        graph(
            "Waiting for their turn",
            [each.metric_throttles(statistic="Sum", label=name) for name, each in live.items()],
        ),
    )
    return board
