"""Headrace in the simulated fleet: the very generator that the function runs, over the fakes of the core."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from benchmarks.fleet.store import Remote
from benchmarks.fleet.values import COST, Ask, ContainerPolicy, Reply, Surroundings
from headrace.admission.gate import Admission
from headrace.catalog import Endpoint, Limits, Rung, Version
from headrace.deadline import Deadline
from headrace.errors import (
    DeadlineTooShort,
    HeadraceError,
    InvalidAnswer,
    LimitExceeded,
    NothingServed,
    Overloaded,
)
from headrace.fakes.admission import FakeBudgetStore, FakeRateStore, FakeSlotStore
from headrace.fakes.health import FakeHealthStore
from headrace.health import Health, HealthOptions
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.invocation.policy import Invocation, Policy, invoke
from headrace.invocation.steps import Steps

VERSION = Version("v1", "model-v1", "endpoint", 100)
ENDPOINT = Endpoint(
    name="model",
    task="text-classification",
    description="A model on a graphics card",
    default=True,
    labels=(),
    inputs=(),
    outputs=(),
    versions=(VERSION,),
    deadline_default_ms=10_000,
    deadline_max_ms=29_000,
    slo_latency_p99_ms=500,
    limits=Limits(max_payload_bytes=1_000_000, max_items=1),
    ladder=(Rung("cpu", 1_000),),
    cost=COST,
)
REQUEST = InferenceRequest((Tensor("text", "BYTES", (1,), ["a text"]),))
LAMBDA_MARGIN_S = 0.5
"""As `headrace.deadline`: an answer needs time to leave."""


def read_score(response: InferenceResponse) -> float:
    """The value in an answer.

    Raises:
        InvalidAnswer: it is not a number.
    """
    value = float((response.output("score").data or [math.nan])[0])
    if not math.isfinite(value):
        raise InvalidAnswer("A score must be finite.")
    return value


@dataclass(slots=True)
class Headrace:
    """The policy of the whole fleet: what its containers share are the stores."""

    tier_max: int
    name: str = "Headrace"
    states_deadline: bool = True
    endpoint: Endpoint = ENDPOINT
    options: HealthOptions = field(default_factory=HealthOptions)
    rates: FakeRateStore = field(default_factory=FakeRateStore)
    slots: FakeSlotStore = field(default_factory=FakeSlotStore)
    budgets: FakeBudgetStore = field(default_factory=FakeBudgetStore)
    health: FakeHealthStore = field(default_factory=FakeHealthStore)

    def container(self, surroundings: Surroundings) -> ContainerPolicy:
        """See `Fleetwide.container`."""

        def remote(port: object) -> Any:
            return Remote(port, surroundings.cross)

        policy = Policy(
            admission=Admission(
                rates=remote(self.rates),
                slots=remote(self.slots),
                budgets=remote(self.budgets),
                background=surroundings.background,
                wall=surroundings.wall,
                holder=surroundings.name,
                lock=nullcontext(),
            ),
            health=Health(
                store=remote(self.health),
                background=surroundings.background,
                wall=surroundings.wall,
                uniform=surroundings.uniform,
                options=self.options,
            ),
            cache=None,
            clock=surroundings.clock,
            wall=surroundings.wall,
            uniform=surroundings.uniform,
        )
        return _Container(policy, self.endpoint, self.tier_max)


@dataclass(slots=True)
class _Container:
    policy: Policy
    endpoint: Endpoint
    tier_max: int

    def serve(self, ask: Ask) -> Steps[Reply]:
        """See `ContainerPolicy.serve`; errors become what the function's edge makes of them."""
        invocation = Invocation(
            REQUEST,
            endpoint=self.endpoint,
            version=VERSION,
            ladder=self.endpoint.ladder,
            tenant=ask.tenant,
            plan=ask.plan,
            tiers=tuple(range(self.tier_max + 1)),
            deadline=Deadline(ask.deadline_s),
            read=read_score,
            client_retry=ask.retry,
        )
        try:
            answer = yield from invoke(invocation, self.policy)
        except LimitExceeded as exceeded:
            return Reply("limited", retry_after_s=math.ceil(exceeded.retry_after_s))
        except Overloaded as overloaded:
            return Reply("shed", retry_after_s=math.ceil(overloaded.retry_after_s), final=True)
        except DeadlineTooShort:
            return Reply("failed", final=True)
        except NothingServed as nothing:
            return Reply("failed", retry_after_s=nothing.retry_after_s)
        except HeadraceError:
            return Reply("failed")
        return Reply("degraded" if answer.degraded else "primary")
