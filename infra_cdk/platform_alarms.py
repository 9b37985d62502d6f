"""What is watched of the platform itself: the API, every function, and the requests to every endpoint."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra_cdk.functions import Function
from infra_cdk.observability import DEGRADED_RATE_MAX, ERROR_RATE_MAX, alarm, degraded_rate, policy_alarms, rate
from infra_cdk.stages import StageSettings

P99_OF_TIMEOUT = 0.8
"""A function that takes four fifths of its time is about to be cut off."""
RAISES_TO_REFUSE = frozenset({"authorizer"})
"""Functions whose errors are no faults: API Gateway takes a refused key only as the error "Unauthorized".

Lambda counts it like a crash, so whoever tries keys at random would set the alarm off. An authorizer that is really
broken makes the gateway answer 503, which the alarm on the API's 5xx sees.
"""

WORKS_ITS_TIME_OUT = frozenset({"batch_score", "shadow"})
"""Functions that go on until their time is up, and wait when their concurrency is: neither is a fault.

A scorer that is cut off, or never has its turn, shows as errors, and as batches that fail. How long a shadow takes is
the version's that it asks, and is what it counts.
"""


def platform_alarms(
    scope: Construct,
    *,
    stage: StageSettings,
    api: apigateway.RestApi,
    functions: Mapping[str, Function],
    endpoints: list[str],
) -> None:
    """Alarms on the API, on every function by name, and on what `predict` counts of every declared endpoint."""
    errors = rate(api.metric_server_error(statistic="Sum"), api.metric_count(statistic="Sum"), label="5xx rate")
    alarm(scope, "Api5xx", errors, above=ERROR_RATE_MAX, says="The API answers 5xx to more than 1 % of requests")
    for name, function in functions.items():
        live, scale = function.live, stage.functions[name]
        if name not in RAISES_TO_REFUSE:
            failed = rate(
                live.metric_errors(statistic="Sum"),
                live.metric_invocations(statistic="Sum"),
                label=f"{name} errors",
            )
            says = f"{name} fails more than {ERROR_RATE_MAX:.0%} of its invocations"
            alarm(scope, f"{name.capitalize()}Errors", failed, above=ERROR_RATE_MAX, says=says)
        watched: tuple[tuple[str, cloudwatch.IMetric, float, str], ...] = (
            ("Throttles", live.metric_throttles(statistic="Sum"), 0, "is throttled: raise its concurrency"),
            (
                "Duration",
                live.metric_duration(statistic="p99"),
                scale.timeout_s * 1000 * P99_OF_TIMEOUT,
                "is near its timeout at p99",
            ),
        )
        for kind, metric, above, says in watched if name not in WORKS_ITS_TIME_OUT else ():
            alarm(scope, f"{name.capitalize()}{kind}", metric, above=above, says=f"{name} {says}")
    for endpoint in endpoints:
        alarm(
            scope,
            f"Degraded-{endpoint}",
            degraded_rate(endpoint),
            above=DEGRADED_RATE_MAX,
            says=f"{endpoint}: more than {DEGRADED_RATE_MAX:.0%} of answers come from a stand-in",
        )
        policy_alarms(scope, endpoint)
