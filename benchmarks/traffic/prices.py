"""What AWS asks for the parts of a request, and what a request then costs. Pure; the prices are to be checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

MB_PER_GB = 1_024
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """List prices in US dollars, on demand, first tier, without free tiers, taxes or discounts.

    They were written down by hand from the services' price pages and are not looked up: check them before relying on a
    sum. Another region or another account has others.
    """

    region: str = "us-east-1"
    as_of: str = "2025-11"
    api_request: float = 3.50e-6
    """API Gateway, REST."""
    firewall_request: float = 0.60e-6
    """WAF, without its monthly fees."""
    invocation: float = 0.20e-6
    gb_second: float = 13.3334e-6
    """Lambda on arm64."""
    write_unit: float = 0.625e-6
    read_unit: float = 0.125e-6
    """DynamoDB on demand."""
    log_byte: float = 0.50 / 2**30
    """CloudWatch Logs, ingested."""
    trace: float = 5.0e-6
    """X-Ray, recorded."""
    secret_read: float = 0.05 / 10_000
    object_write: float = 0.005 / 1_000
    object_read: float = 0.0004 / 1_000
    message: float = 0.40e-6
    """SQS, standard queue, per call."""
    transition: float = 25.0e-6
    """Step Functions, standard workflow: a state that is entered, or a child execution that is begun."""
    instance_hour: Mapping[str, float] = field(
        default_factory=lambda: {"ml.g5.xlarge": 1.408, "ml.g4dn.xlarge": 0.7364}
    )
    """SageMaker real-time inference."""


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What is not measured and goes into the sum.

    Args:
        target_ms: how long the endpoint takes; the stub takes as long.
        state_ms: how long one call of DynamoDB, S3 or SQS takes that a request waits for.
        cpu_factor: CPU time in Lambda at this memory (1,769 MB are one vCPU of arm64) over CPU time here.
        platform_log_bytes: Lambda's own lines about each invocation (START, END, REPORT).
        access_log_bytes: API Gateway's line about each request, with the fields that are declared for it.
        traced: the share of requests that X-Ray records (its default rule: one per second, and 5 % beyond).
        queue_calls: of SQS by Lambda's poller for each message, received and deleted one by one: the worst case.
    """

    target_ms: float = 20.0
    state_ms: float = 5.0
    cpu_factor: float = 1.0
    platform_log_bytes: int = 350
    access_log_bytes: int = 700
    traced: float = 0.05
    queue_calls: int = 2


@dataclass(frozen=True, slots=True)
class Work:
    """What one function did for one request, on average.

    Args:
        memory_mb: as declared.
        cpu_ms: of the process, its background threads included.
        target_waits: calls of the endpoint, or of another function, that it waited for.
        state_waits: other calls that it waited for.
        calls: all other calls, waited for or not, by `<service> <operation>`.
        write_units: of DynamoDB.
        read_units: of DynamoDB.
        log_bytes: that it printed.
    """

    memory_mb: int
    cpu_ms: float
    target_waits: float
    state_waits: float
    calls: Mapping[str, float]
    write_units: float
    read_units: float
    log_bytes: float

    def billed_ms(self, given: Assumptions) -> float:
        """Milliseconds that Lambda bills. Work in the background is taken to cost time of its own: the worst case."""
        waited_ms = self.target_waits * given.target_ms + self.state_waits * given.state_ms
        return math.ceil(self.cpu_ms * given.cpu_factor + waited_ms)


def function_cost(work: Work, *, prices: Prices, given: Assumptions) -> dict[str, float]:
    """Dollars for one invocation of a function, by part."""
    gb_seconds = work.memory_mb / MB_PER_GB * work.billed_ms(given) / 1_000
    return {
        "Lambda": prices.invocation + gb_seconds * prices.gb_second,
        "DynamoDB": work.write_units * prices.write_unit + work.read_units * prices.read_unit,
        "logs": (work.log_bytes + given.platform_log_bytes) * prices.log_byte,
        "S3, SQS, secrets": sum(number * _call_price(what, prices) for what, number in work.calls.items()),
    }


def front_cost(*, prices: Prices, given: Assumptions) -> dict[str, float]:
    """Dollars for what stands before the functions."""
    return {
        "API Gateway": prices.api_request,
        "firewall": prices.firewall_request,
        "logs": given.access_log_bytes * prices.log_byte,
        "traces": given.traced * prices.trace,
    }


def total(*costs: Mapping[str, float]) -> dict[str, float]:
    """Several costs as one, by part."""
    parts = dict.fromkeys(part for cost in costs for part in cost)
    return {part: sum(cost.get(part, 0.0) for cost in costs) for part in parts}


def _call_price(what: str, prices: Prices) -> float:
    service, _, operation = what.rpartition(" ")
    match service:
        case "Secrets Manager":
            return prices.secret_read
        case "S3":
            return prices.object_read if operation.startswith("Get") else prices.object_write
        case "SQS":
            return prices.message
        case _:
            return 0.0  # DynamoDB is paid by unit, the endpoint by the hour
