"""One log line and a few metrics per request, by Powertools: metadata only, in EMF, without tenants as dimensions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

_LOGGED = frozenset(
    {
        "request_id",
        "route",
        "status",
        "code",
        "failure",
        "tenant",
        "endpoint",
        "task",
        "version",
        "plan",
        "served_by",
        "degraded",
        "cache",
        "hedged",
        "replayed",
        "job",
        "attempts",
        "routing",
        "passed_over",
        "subject",
        "stage",
        "arm",
        "items",
        "image_bytes",
        "bytes_in",
        "bytes_out",
        "total_ms",
        "target_ms",
    }
)
"""Fields that may be logged. A field that is not named here does not reach a log, whoever puts it into a record."""


_BY_OUTCOME: Mapping[str, str] = {
    "shed": "Shed",
    "circuit_open": "CircuitOpen",
    "invalid_answer": "InvalidAnswers",
}
"""Metrics that count requests of which an attempt ended so."""
_LIMITED = 429


class Telemetry:
    """Reports finished requests.

    Args:
        logger: where lines go.
        metrics: where counts go.
        store_failures: how many calls of the state store failed since it was asked last.
    """

    def __init__(self, logger: Logger, metrics: Metrics, *, store_failures: Callable[[], int] = lambda: 0) -> None:
        self._logger = logger
        self._metrics = metrics
        self._store_failures = store_failures

    def report(self, record: dict[str, Any]) -> None:
        """Log the record's known fields, and count what alarms and dashboards need."""
        fields = {name: value for name, value in record.items() if name in _LOGGED}
        level = self._logger.error if record["status"] >= 500 else self._logger.info  # noqa: PLR2004 - HTTP
        level("request", extra={"request": fields})
        if "endpoint" not in record:
            return
        counts = {**counts_of(record), "StoreFailures": self._store_failures()}
        times = {"Latency": record["total_ms"], "TargetLatency": record["target_ms"]}
        # Handed over in one piece: thirteen calls of `add_metric`, each checked again, were a tenth of our time.
        found = self._metrics.serialize_metric_set(
            metrics={
                **{name: {"Unit": MetricUnit.Count.value, "Value": value} for name, value in counts.items()},
                **{name: {"Unit": MetricUnit.Milliseconds.value, "Value": value} for name, value in times.items()},
            },
            dimensions={"endpoint": record["endpoint"], "service": self._metrics.provider.service},
            metadata={},
        )
        print(json.dumps(found, separators=(",", ":")))  # noqa: T201 - where Powertools writes metrics too


def counts_of(record: Mapping[str, Any]) -> dict[str, int]:
    """What one request adds to each count, 0 or 1: a metric that is never 0 has no rate."""
    attempts = record.get("attempts", ())
    targets = [attempt[0] for attempt in attempts if len(attempt) > 2 and attempt[2]]  # noqa: PLR2004 - with a duration
    outcomes = {attempt[1] for attempt in attempts}
    return {
        "Requests": 1,
        "Degraded": int(bool(record.get("degraded"))),
        # A refusal for want of capacity is not a request that found no answer: it has a count of its own.
        "Unserved": int(record["status"] >= 500 and record.get("code") not in {"overloaded", "deadline_too_short"}),  # noqa: PLR2004
        "Limited": int(record["status"] == _LIMITED),
        "Retried": int(not record.get("hedged") and len(targets) > len(set(targets))),
        "Hedged": int(bool(record.get("hedged"))),
        "CacheHits": int(record.get("cache") == "hit"),
        "RoutingStale": int(bool(record.get("routing_stale"))),
        **{metric: int(outcome in outcomes) for outcome, metric in _BY_OUTCOME.items()},
    }
