"""Metrics and alarms: what is promised in `slo`, watched where it can be seen.

The burn rate is that of the SRE workbook's fast window ("Alerting on SLOs", multiwindow alerts): at 14.4 times the
allowed error rate, a month's budget is gone in two days.
"""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from headrace.declaration.schema import EndpointDeclaration

FAST_BURN = 14.4
PERIOD = Duration.minutes(1)
MICROSECONDS_PER_MS = 1000
_EVALUATION_PERIODS = 5
_BREACHES = 3
_MISSING = cloudwatch.TreatMissingData.NOT_BREACHING
_OVER = cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD

ERRORS, LATENCY = "/errors", "/latency"
"""What ends the names of the alarms on one version, and of no others."""
METRICS_NAMESPACE = "Headrace"
"""Where `predict` counts (`headrace_aws/telemetry.py`); the functions are told, the graphs read it."""
REQUESTS_METRIC = "Requests"
DEGRADED_METRIC = "Degraded"
UNSERVED_METRIC = "Unserved"
LATENCY_METRIC = "Latency"
SHED_METRIC = "Shed"
LIMITED_METRIC = "Limited"
CIRCUIT_OPEN_METRIC = "CircuitOpen"
RETRIED_METRIC = "Retried"
HEDGED_METRIC = "Hedged"
CACHE_HITS_METRIC = "CacheHits"
INVALID_ANSWERS_METRIC = "InvalidAnswers"
STORE_FAILURES_METRIC = "StoreFailures"
ROUTING_STALE_METRIC = "RoutingStale"
DEGRADED_RATE_MAX = 0.05
"""One answer in twenty from a stand-in: the endpoint is in trouble though callers see no errors."""
ERROR_RATE_MAX = 0.01
SHED_RATE_MAX = 0.05
"""One request in twenty turned away for want of capacity: the lowest tier is not being served."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one version answers: its endpoint, and its production variant, or its inference component if it is one.

    The dimensions are SageMaker's own, and what an alarm's change of state is told apart by: names of endpoints and
    versions have hyphens in them, so that no name made of both could be taken apart again.
    """

    endpoint: str
    version: str
    component: str = ""

    @property
    def name(self) -> str:
        """Endpoint and version with what neither may hold between them: no two places have one name."""
        return f"{self.endpoint}/{self.version}"

    @property
    def dimensions(self) -> dict[str, str]:
        """By which CloudWatch tells its metrics from others."""
        if self.component:
            return {"InferenceComponentName": self.component}
        return {"EndpointName": self.endpoint, "VariantName": self.version}


@dataclass(frozen=True, slots=True)
class Watched:
    """One metric beside its alarm."""

    metric: cloudwatch.IMetric
    alarm: cloudwatch.Alarm


def rate(part: cloudwatch.IMetric, whole: cloudwatch.IMetric, *, label: str) -> cloudwatch.MathExpression:
    """`part / whole`, 0 while there is no traffic. `label` must differ from those of its neighbours in a graph."""
    # Metric ids are shared by all lines of a graph: letters, digits and underscores, a small letter first.
    suffix = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in label)
    some, all_ = f"part_{suffix}", f"whole_{suffix}"
    return cloudwatch.MathExpression(
        expression=f"IF({all_} > 0, FILL({some}, 0) / {all_}, 0)",
        using_metrics={some: part, all_: whole},
        label=label,
        period=PERIOD,
    )


def alarm(
    scope: Construct,
    id_: str,
    metric: cloudwatch.IMetric,
    *,
    above: float,
    says: str,
    name: str | None = None,
    minutes: int = _BREACHES,
) -> cloudwatch.Alarm:
    """An alarm on `metric` above `above` in `minutes` of five; no data is no fault."""
    return cloudwatch.Alarm(
        scope,
        id_,
        alarm_name=name,
        alarm_description=says,
        metric=metric,
        threshold=above,
        comparison_operator=_OVER,
        evaluation_periods=_EVALUATION_PERIODS,
        datapoints_to_alarm=minutes,
        treat_missing_data=_MISSING,
    )


def place_metric(name: str, place: Place, *, statistic: str) -> cloudwatch.Metric:
    """A metric that SageMaker publishes per version (`AWS/SageMaker`; latencies are in microseconds)."""
    return cloudwatch.Metric(
        namespace="AWS/SageMaker",
        metric_name=name,
        dimensions_map=place.dimensions,
        statistic=statistic,
        period=PERIOD,
        label=f"{place.version} {name} {statistic}",
    )


def place_alarms(scope: Construct, declaration: EndpointDeclaration, place: Place) -> tuple[Watched, Watched]:
    """Errors and p99 latency of one version against the declared objective.

    They roll a deployment back, and a rollout whose canary this version is.
    """
    errors = rate(
        place_metric("Invocation5XXErrors", place, statistic="Sum"),
        place_metric("Invocations", place, statistic="Sum"),
        label=f"{place.version} error rate",
    )
    latency = place_metric("ModelLatency", place, statistic="p99")
    slo = declaration.slo
    return (
        Watched(
            errors,
            alarm(
                scope,
                f"Errors-{place.version}",
                errors,
                above=round(min(1.0, FAST_BURN * (1 - slo.availability)), 6),
                says=f"{place.name}: errors burn the budget of {slo.availability:.3%} availability",
                name=f"{place.name}{ERRORS}",
            ),
        ),
        Watched(
            latency,
            alarm(
                scope,
                f"Latency-{place.version}",
                latency,
                above=slo.latency_p99_ms * MICROSECONDS_PER_MS,
                says=f"{place.name}: p99 above the objective of {slo.latency_p99_ms} ms",
                name=f"{place.name}{LATENCY}",
            ),
        ),
    )


def degraded_rate(endpoint: str) -> cloudwatch.MathExpression:
    """Share of answers that came from a stand-in, as the predict function counts them."""
    return share(DEGRADED_METRIC, endpoint=endpoint)


def policy_alarms(scope: Construct, endpoint: str) -> None:
    """What the invocation policy does for long only when something is wrong with the endpoint or the state table."""
    alarm(
        scope,
        f"Shed-{endpoint}",
        share(SHED_METRIC, endpoint=endpoint),
        above=SHED_RATE_MAX,
        says=f"{endpoint}: more than {SHED_RATE_MAX:.0%} of requests are turned away for want of capacity",
    )
    alarm(
        scope,
        f"StoreFailures-{endpoint}",
        predict_metric(STORE_FAILURES_METRIC, endpoint=endpoint, statistic="Sum"),
        above=0,
        # A call that misses its 0.3 s now and then is what the policy is made for.
        minutes=_EVALUATION_PERIODS,
        says=f"{endpoint}: the state table fails all the time: limits, circuits and caches are each process's own",
    )
    alarm(
        scope,
        f"RoutingStale-{endpoint}",
        predict_metric(ROUTING_STALE_METRIC, endpoint=endpoint, statistic="Sum"),
        above=0,
        minutes=_EVALUATION_PERIODS,
        says=f"{endpoint}: the routing document cannot be read or is invalid: the last good one stays in force",
    )


def unserved_alarm(scope: Construct, declaration: EndpointDeclaration, *, endpoint: str) -> Watched:
    """Callers who got no answer at all, not even a stand-in's, against the declared availability itself.

    No burn rate here: whoever reaches this has gone down the whole ladder, which is there so that nobody does.
    """
    slo = declaration.slo
    unserved = share(UNSERVED_METRIC, endpoint=declaration.name)
    return Watched(
        unserved,
        alarm(
            scope,
            "Unserved",
            unserved,
            above=error_budget(declaration),
            says=f"{endpoint}: fewer than the promised {slo.availability:.3%} of requests are answered",
            name=f"{endpoint}-unserved",
        ),
    )


def predict_metric(name: str, *, endpoint: str, statistic: str) -> cloudwatch.Metric:
    """A metric that `predict` reports per declared endpoint (latencies are in milliseconds)."""
    return cloudwatch.Metric(
        namespace=METRICS_NAMESPACE,
        metric_name=name,
        dimensions_map={"service": "predict", "endpoint": endpoint},
        statistic=statistic,
        period=PERIOD,
        label=f"{name} {statistic}",
    )


def share(name: str, *, endpoint: str) -> cloudwatch.MathExpression:
    """Share of an endpoint's requests that `predict` counted under `name`."""
    part, whole = (predict_metric(each, endpoint=endpoint, statistic="Sum") for each in (name, REQUESTS_METRIC))
    return rate(part, whole, label=f"{endpoint} {name.lower()}")


def error_budget(declaration: EndpointDeclaration) -> float:
    """The share of requests that may fail; rounded, because 1 - 0.999 is not 0.001 in binary."""
    return round(1 - declaration.slo.availability, 6)
