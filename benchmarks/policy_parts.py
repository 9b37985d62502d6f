"""The invocation policy's own time, over stores in memory: the whole, and what limits, health and cache take of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from headrace.catalog import Endpoint
from headrace.deadline import Deadline
from headrace.fakes.policy import FakeStores
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.policy import Invocation, Policy, invoke
from headrace.invocation.steps import Call, Outcome, Outcomes, Race, Step, run
from headrace.plans import Plan, Rate

TENANT = "acme"
PLAN = Plan("bench", tier=5, concurrency=64, rate=Rate(10_000, 10_000), budgets=())
SECONDS, DEADLINE_S = 0.02, 2.0


class Nowhere:
    """A background that takes every task and does none, so that only what a request itself does is measured."""

    def submit(self, _: Callable[[], None]) -> bool:
        """See `headrace.background.Background.submit`."""
        return True


def policy_in_memory() -> Policy:
    """A policy whose stores are dictionaries."""
    return FakeStores().policy(clock=time.time, background=Nowhere())


def policy_acts(
    request: InferenceRequest, endpoint: Endpoint, response: InferenceResponse
) -> dict[str, Callable[[int], Any]]:
    """The policy around a call that takes no time, and its parts alone."""
    policy = policy_in_memory()
    version = endpoint.hosted[0]
    target = f"{endpoint.name}/{version.name}"
    admission, health, cache = policy.admission, policy.health, policy.cache
    assert cache is not None  # noqa: S101 - made with one
    assert endpoint.cache is not None  # noqa: S101 - as declared
    rules = endpoint.cache

    def perform(step: Step) -> Outcomes:
        asked = step.call if isinstance(step, Race) else step
        assert isinstance(asked, Call)  # noqa: S101 - nothing fails, so nothing is waited for
        return (Outcome(asked.target, SECONDS, response=response),)

    def whole(_: int) -> None:
        invocation = Invocation(
            request=request,
            endpoint=endpoint,
            version=version,
            ladder=endpoint.ladder,
            tenant=TENANT,
            plan=PLAN,
            tiers=(0, 5, 9),
            deadline=Deadline(time.time() + DEADLINE_S),
            read=lambda answer: answer,
            cache_use="refresh",
        )
        run(invoke(invocation, policy), perform=perform)

    def limits(_: int) -> None:
        admission.release(admission.admit(TENANT, PLAN, until_s=time.time() + DEADLINE_S))

    def watched(_: int) -> None:
        health.arrived(client_retry=False)
        for share in (0.99, 0.5, 0.99, 0.95):
            health.percentile_s(target, share)
        health.check_tier(target, tier=1, tier_max=2, slo_s=0.5)
        health.leave(health.enter(target), "good", SECONDS)

    def cached(_: int) -> None:
        key = cache.key(TENANT, endpoint.name, version, request)
        cache.fresh(key, rules)
        cache.keep(key, response, seconds=SECONDS, rules=rules)

    return {"policy": whole, "limits": limits, "health": watched, "cache": cached}
