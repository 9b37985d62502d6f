"""One page per endpoint: what callers see first, then the instances that serve them."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from headrace.declaration.schema import EndpointDeclaration
from infra_cdk.observability import (
    CACHE_HITS_METRIC,
    CIRCUIT_OPEN_METRIC,
    DEGRADED_RATE_MAX,
    HEDGED_METRIC,
    INVALID_ANSWERS_METRIC,
    LATENCY_METRIC,
    LIMITED_METRIC,
    MICROSECONDS_PER_MS,
    RETRIED_METRIC,
    ROUTING_STALE_METRIC,
    SHED_METRIC,
    SHED_RATE_MAX,
    STORE_FAILURES_METRIC,
    Place,
    Watched,
    degraded_rate,
    error_budget,
    place_metric,
    predict_metric,
    share,
)


def dashboard(
    scope: Construct,
    declaration: EndpointDeclaration,
    *,
    endpoint: str,
    watched: dict[Place, tuple[Watched, Watched]],
    unserved: Watched,
) -> cloudwatch.Dashboard:
    """One page per endpoint: is the promise kept, who answers, and how full are the instances."""
    slo = declaration.slo
    crowd = "ConcurrentRequestsPerCopy" if any(place.component for place in watched) else "ConcurrentRequestsPerModel"
    board = cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=endpoint, default_interval=Duration.hours(3))
    board.add_widgets(
        cloudwatch.TextWidget(markdown=f"# {declaration.name}\n{declaration.description}", width=24, height=2),
        cloudwatch.AlarmStatusWidget(
            title="Objectives",
            alarms=[unserved.alarm, *(part.alarm for pair in watched.values() for part in pair)],
            width=24,
            height=3,
        ),
    )
    _callers_row(board, declaration, unserved=unserved)
    _policy_row(board, declaration.name)
    board.add_widgets(
        cloudwatch.GraphWidget(
            title="Model latency p99 (us) against the objective",
            left=[pair[1].metric for pair in watched.values()],
            left_annotations=[
                cloudwatch.HorizontalAnnotation(value=slo.latency_p99_ms * MICROSECONDS_PER_MS, label="objective")
            ],
            width=12,
        ),
        cloudwatch.GraphWidget(
            title="Error rate of the instances",
            left=[pair[0].metric for pair in watched.values()],
            left_annotations=[cloudwatch.HorizontalAnnotation(value=error_budget(declaration), label="budget")],
            width=12,
        ),
    )
    board.add_widgets(
        *(
            cloudwatch.GraphWidget(
                title=title,
                left=[place_metric(name, place, statistic=stat) for place in watched],
                width=8,
            )
            for title, name, stat in (
                ("Invocations", "Invocations", "Sum"),
                ("Concurrent requests per model", crowd, "Maximum"),
                ("SageMaker's own overhead (us)", "OverheadLatency", "p99"),
            )
        )
    )
    return board


def _callers_row(board: cloudwatch.Dashboard, declaration: EndpointDeclaration, *, unserved: Watched) -> None:
    """What callers see, whoever answered: counted by `predict`, not by SageMaker."""
    board.add_widgets(
        cloudwatch.GraphWidget(
            title="Callers' latency (ms) against the objective",
            left=[
                predict_metric(LATENCY_METRIC, endpoint=declaration.name, statistic=statistic)
                for statistic in ("p50", "p99")
            ],
            left_annotations=[
                cloudwatch.HorizontalAnnotation(value=declaration.slo.latency_p99_ms, label="p99 objective")
            ],
            width=8,
        ),
        cloudwatch.GraphWidget(
            title="Not answered at all",
            left=[unserved.metric],
            left_annotations=[cloudwatch.HorizontalAnnotation(value=error_budget(declaration), label="budget, alarm")],
            width=8,
        ),
        cloudwatch.GraphWidget(
            title="Answered by a stand-in",
            left=[degraded_rate(declaration.name)],
            left_annotations=[cloudwatch.HorizontalAnnotation(value=DEGRADED_RATE_MAX, label="alarm")],
            width=8,
        ),
    )


def _policy_row(board: cloudwatch.Dashboard, endpoint: str) -> None:
    """What the invocation policy did with the requests: turned away, tried again, answered from memory."""

    def graph(title: str, *names: str, alarm_at: float | None = None) -> cloudwatch.GraphWidget:
        line = None if alarm_at is None else [cloudwatch.HorizontalAnnotation(value=alarm_at, label="alarm")]
        return cloudwatch.GraphWidget(
            title=title, left=[share(name, endpoint=endpoint) for name in names], left_annotations=line, width=6
        )

    board.add_widgets(
        graph("Policy: turned away", SHED_METRIC, LIMITED_METRIC, CIRCUIT_OPEN_METRIC, alarm_at=SHED_RATE_MAX),
        graph("Policy: tried again", RETRIED_METRIC, HEDGED_METRIC),
        graph("Policy: from the cache", CACHE_HITS_METRIC),
        cloudwatch.GraphWidget(
            title="Policy: answers refused, store calls failed",
            left=[
                predict_metric(name, endpoint=endpoint, statistic="Sum")
                for name in (INVALID_ANSWERS_METRIC, STORE_FAILURES_METRIC, ROUTING_STALE_METRIC)
            ],
            width=6,
        ),
    )
