"""Alarms of a template as EventBridge tells of them, for asking what the function makes of that."""

from __future__ import annotations

from typing import Any


def state_change(alarm: dict[str, Any], *, value: str = "ALARM") -> dict[str, Any]:
    """The event of an alarm's change of state (CloudWatch user guide, "Alarm events and EventBridge")."""
    parts = [part["MetricStat"]["Metric"] for part in alarm.get("Metrics", ()) if "MetricStat" in part] or [alarm]
    metrics = [
        {
            "metricStat": {
                "metric": {
                    "namespace": part["Namespace"],
                    "name": part["MetricName"],
                    "dimensions": {each["Name"]: each["Value"] for each in part["Dimensions"]},
                }
            }
        }
        for part in parts
    ]
    return {
        "source": "aws.cloudwatch",
        "detail-type": "CloudWatch Alarm State Change",
        "detail": {
            "alarmName": alarm["AlarmName"],
            "state": {"value": value},
            "configuration": {"metrics": [*metrics, {"expression": "a / b"}]},
        },
    }
