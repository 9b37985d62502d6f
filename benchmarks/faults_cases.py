"""What is broken, how, and when: each case strikes some seconds into its load and ends some seconds later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

ENDPOINT = "sentiment"
DYNAMODB = "dynamodb"
BEFORE_S = 5.0
FAULT_S = 10.0
AFTER_S = 5.0
STORE_FAULT_S = 25.0
"""Longer than the authorizer remembers a credential (20 s): a shorter outage would not show what it costs."""
DEATH_EVERY_S = 4.0
"""Sooner than a killed process is back and has answered for long."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that goes wrong.

    Attributes:
        name: As tables call it.
        fault: As `Stack.fault` takes it.
        fault_s: How long it lasts.
        every_s: Strikes again so often while it lasts; 0 strikes once.
    """

    name: str
    fault: Mapping[str, Any] = field(default_factory=dict)
    fault_s: float = FAULT_S
    every_s: float = 0.0

    def strikes_s(self, fault_s: float) -> list[float]:
        """When to strike, in seconds from the beginning of a fault that lasts for `fault_s`."""
        if not self.every_s:
            return [0.0]
        return [index * self.every_s for index in range(max(1, int(fault_s / self.every_s)))]


def _endpoint(name: str, kind: str, **more: Any) -> Case:
    return Case(name, {"endpoint": ENDPOINT, "kind": kind, **more})


def _dynamodb(name: str, kind: str, **more: Any) -> Case:
    return Case(name, {"endpoint": DYNAMODB, "kind": kind, **more}, fault_s=STORE_FAULT_S)


CASES = (
    _endpoint("killed once", "death"),
    Case(f"killed every {DEATH_EVERY_S:g} s", {"endpoint": ENDPOINT, "kind": "death"}, every_s=DEATH_EVERY_S),
    _endpoint("artifact corrupted (three starts)", "corrupt", count=3),
    _endpoint("hung", "hang"),
    _endpoint("slowed by 0.2 to 0.8 s", "latency", latency_ms=200, jitter_ms=600),
    _endpoint("slowed by 1.5 s", "latency", latency_ms=1500),
    _endpoint("throttled", "throttle"),
    _endpoint("500 of the model", "5xx"),
    _endpoint("unavailable", "unavailable"),
    _endpoint("every third answer garbage", "garbage", rate=1 / 3),
    _endpoint("all answers garbage", "garbage"),
    _endpoint("answers of a wrong shape", "wrong_shape"),
    _dynamodb("DynamoDB's state table throttled", "throttle", variant="state"),
    _dynamodb("DynamoDB's state table down", "unavailable", variant="state"),
    _dynamodb("DynamoDB's state table slowed by 0.5 s", "latency", variant="state", latency_ms=500),
    _dynamodb("DynamoDB's state table hung", "hang", variant="state"),
    _dynamodb("DynamoDB down, the credentials as well", "unavailable"),
)


def chosen(names: tuple[str, ...]) -> tuple[Case, ...]:
    """The cases of these names.

    Raises:
        ValueError: There is none of a name.
    """
    wanted: Callable[[Case], bool] = lambda case: case.name in names  # noqa: E731
    found = tuple(filter(wanted, CASES))
    if len(found) != len(names):
        raise ValueError("no such case")
    return found
