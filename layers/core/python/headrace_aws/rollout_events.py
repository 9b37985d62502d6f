"""What `rollout_step` is told, and what it answers, in the forms of CloudWatch and of the state machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.catalog import Catalog
from headrace.rollouts.controller import Stepped

FINISHED = "Rollout Finished"
"""The detail type of the event that tells of a rollout's end."""
EXPERIMENT_FINISHED = "Experiment Finished"
"""The same of an experiment's."""


@dataclass(frozen=True, slots=True)
class Alarmed:
    """An alarm that is on, and whose it is."""

    name: str
    endpoint: str
    version: str


def alarmed(event: dict[str, Any], catalog: Catalog, *, prefix: str) -> Alarmed | None:
    """Which version an alarm's change of state speaks of; None where it is not on, or not of one version of ours alone.

    Whose alarm it is stands in the dimensions of its metrics: `EndpointName` and `VariantName`, or
    `InferenceComponentName`.

    Args:
        event: "CloudWatch Alarm State Change", as EventBridge delivers it (CloudWatch user guide, "Alarm events and
            EventBridge").
        catalog: the declared endpoints.
        prefix: begins the name of every SageMaker endpoint.
    """
    detail = event.get("detail") or {}
    if (detail.get("state") or {}).get("value") != "ALARM":
        return None
    metrics = (detail.get("configuration") or {}).get("metrics") or ()
    dimensions = [((metric.get("metricStat") or {}).get("metric") or {}).get("dimensions") or {} for metric in metrics]
    named = {
        (endpoint.name, version.name)
        for endpoint in catalog.endpoints.values()
        for version in endpoint.hosted
        for each in dimensions
        if _speaks_of(each, f"{prefix}-{endpoint.name}", version.name)
    }
    if len(named) != 1:
        return None
    [(endpoint_name, version_name)] = named
    return Alarmed(str(detail.get("alarmName", "")), endpoint_name, version_name)


def _speaks_of(dimensions: dict[str, str], endpoint: str, version: str) -> bool:
    if dimensions.get("InferenceComponentName") == f"{endpoint}-{version}":
        return True
    return (dimensions.get("EndpointName"), dimensions.get("VariantName")) == (endpoint, version)


def answer(stepped: Stepped, *, finished: str = FINISHED) -> dict[str, Any]:
    """A turn's outcome for the state machine. An empty `event_type` tells nobody."""
    return {
        "state": stepped.state,
        "again": stepped.again,
        "wait_s": stepped.wait_s,
        "event_type": finished if stepped.event else "",
        "event": stepped.event or {},
    }
