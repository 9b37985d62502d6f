"""One log line and a few metrics per request, by Powertools: metadata only, in EMF, without tenants as dimensions."""

from __future__ import annotations

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
        "served_by",
        "degraded",
        "attempts",
        "items",
        "image_bytes",
        "bytes_in",
        "bytes_out",
        "total_ms",
        "target_ms",
    }
)
"""Fields that may be logged. A field that is not named here does not reach a log, whoever puts it into a record."""


class Telemetry:
    """Reports finished requests."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger = logger
        self._metrics = metrics

    def report(self, record: dict[str, Any]) -> None:
        """Log the record's known fields, and count what alarms and dashboards need."""
        fields = {name: value for name, value in record.items() if name in _LOGGED}
        level = self._logger.error if record["status"] >= 500 else self._logger.info  # noqa: PLR2004 - HTTP
        level("request", extra={"request": fields})
        if "endpoint" not in record:
            return
        metrics = self._metrics
        metrics.add_dimension(name="endpoint", value=record["endpoint"])
        metrics.add_metric(name="Requests", unit=MetricUnit.Count, value=1)
        metrics.add_metric(name="Degraded", unit=MetricUnit.Count, value=1 if record.get("degraded") else 0)
        metrics.add_metric(name="Unserved", unit=MetricUnit.Count, value=1 if record["status"] >= 500 else 0)  # noqa: PLR2004
        metrics.add_metric(name="Latency", unit=MetricUnit.Milliseconds, value=record["total_ms"])
        metrics.add_metric(name="TargetLatency", unit=MetricUnit.Milliseconds, value=record["target_ms"])
        metrics.flush_metrics()
