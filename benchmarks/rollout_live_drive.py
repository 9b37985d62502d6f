"""One rollout on the local platform, under traffic, from its start to its end: what was decided, what callers saw."""

from __future__ import annotations

import http.client
import secrets
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from benchmarks.rollout_live_scenarios import LOOK_S, Scenario
from benchmarks.rollout_live_traffic import PATH, TIMEOUT_S, Answered, Traffic
from benchmarks.rollout_live_versions import CANARY, CONTROL, ENDPOINT, Folders
from headrace.declaration.compile import compile_catalog
from headrace.declaration.files import read_declarations
from headrace.declaration.rollout import plan_of
from headrace.errors import StoreUnavailable
from headrace.rollouts.operations import Operations
from headrace.rollouts.plan import RolloutPlan
from headrace.rollouts.states import Decision, Rollout
from headrace_cli.operating import Operator
from headrace_cli.rolling import Stores, open_stores
from infra_local.names import PREFIX
from infra_local.threaded import ThreadedStack

WARM_S = 4.0
"""Of traffic before the rollout: functions and processes have been asked once."""
LOOK_EVERY_S = 0.5
HELD_S = 21.0
"""Functions read the routing document every 10 s, and no request is routed by one that is older than 20 s."""
AFTER_S = 3.0
"""Of traffic after that."""
RATE_MIN, RATE_MAX = 1.0, 6.0
BUSY = 0.35
"""Requests in flight on average, were it not for shadow and state machine: beside them this leaves two cores idle half
of the time. A queue before the control would hide a slower version, whose own process has few requests."""
FIRST_ASKS = 12
"""Of which the first half warms up."""
WHO, WHY = "benchmark", "a benchmark of progressive delivery"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a rollout.

    Attributes:
        rollout: Its record at the end, or when patience ended.
        plan: Its rules.
        decisions: Its history.
        rate: Requests a second that callers sent, in the long run.
        answers: All that callers got from its start on, in the order of their coming.
        weights: In force after the end.
        after: Answers that came once every function had read the document of the end.
        ended_at: Seconds since the epoch.
    """

    rollout: Rollout
    plan: RolloutPlan
    decisions: tuple[Decision, ...]
    rate: float
    answers: tuple[Answered, ...]
    weights: dict[str, int]
    after: tuple[Answered, ...]
    ended_at: float

    @property
    def seconds(self) -> float:
        """From the canary's first share to the end."""
        first = next((stage.since for stage in self.rollout.stages if stage.number == 1), self.rollout.started_at)
        return self.ended_at - first

    @property
    def share(self) -> int:
        """The canary's share when it ended, in basis points."""
        return self.rollout.stage.share


def drive(
    scenario: Scenario,
    stack: ThreadedStack,
    folders: Folders,
    *,
    photos: Sequence[bytes],
    seed: int,
    seconds_max: float,
    canary: str = CANARY,
    settle: bool = True,
    say: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Roll the scenario's version out and watch until the rollout is over.

    Args:
        scenario: Which version.
        stack: The platform that runs it.
        folders: What the platform was started with.
        photos: What callers send.
        seed: Of the traffic.
        seconds_max: How long the rollout may take; then it is aborted, and its record says so.
        canary: The name of the version, where there has been another rollout before.
        settle: Whether the traffic goes on until every function knows of the end, and a little longer.
        say: Told what happens.
    """
    stores = open_stores(Operator(PREFIX, local=stack.environment()))
    (declaration,) = read_declarations(folders.endpoints)
    endpoint = compile_catalog([declaration], {}).endpoint(ENDPOINT)
    plan = replace(plan_of(declaration.rollout, availability=declaration.slo.availability), look_s=LOOK_S)
    operations = Operations(
        endpoint,
        rollouts=stores.rollouts,
        routings=stores.routings,
        tallies=stores.tallies,
        executions=stores.executions,
        wall=stores.wall,
    )
    rate = _bearable(lambda: _ask(stack, photos[0], CONTROL))
    with Traffic(stack.url, stack.api_key, photos, rate=rate, seed=seed) as traffic:
        time.sleep(WARM_S)
        if scenario.before is not None:
            scenario.before(stack, lambda version: _ask(stack, photos[0], version))
        began = time.time()
        rollout, executing = operations.start(
            canary, plan=plan, rollout_id=f"ro_{secrets.token_urlsafe(24)[:22]}", who=WHO, why=WHY
        )
        if not executing:
            raise RuntimeError("the state machine did not start")
        rollout = _watch(rollout, scenario, stack, stores, until=began + seconds_max, say=say)
        if rollout.active:
            rollout = operations.abort(who=WHO, why=f"not over after {seconds_max:.0f} s")
        ended_at = rollout.updated_at
        if settle:
            time.sleep(max(0.0, ended_at + HELD_S + AFTER_S - time.time()))
    return Outcome(
        rollout=rollout,
        plan=plan,
        decisions=tuple(stores.rollouts.decisions(rollout.rollout_id)),
        answers=tuple(traffic.answers(since=began)),
        rate=rate,
        weights=dict(operations.routing().weights),
        after=tuple(traffic.answers(since=ended_at + HELD_S)),
        ended_at=ended_at,
    )


def _bearable(ask: Callable[[], float]) -> float:
    """How many requests a second this machine bears now: queues would hide what versions do."""
    usual_s = statistics.median([ask() for _ in range(FIRST_ASKS)][FIRST_ASKS // 2 :])
    return max(RATE_MIN, min(RATE_MAX, BUSY / usual_s))


def _watch(
    rollout: Rollout,
    scenario: Scenario,
    stack: ThreadedStack,
    stores: Stores,
    *,
    until: float,
    say: Callable[[str], None],
) -> Rollout:
    told: tuple[str, int] = ("", -1)
    struck = scenario.at_share is None
    while rollout.active and time.time() < until:
        time.sleep(LOOK_EVERY_S)
        with suppress(StoreUnavailable):
            rollout = stores.rollouts.current(ENDPOINT) or rollout
        if scenario.at_share is not None and not struck and rollout.stage.share >= scenario.at_share[0]:
            scenario.at_share[1](stack)
            struck = True
        if told != (rollout.state, rollout.stage.share):
            told = (rollout.state, rollout.stage.share)
            say(f"{scenario.name}: {rollout.state} at {rollout.stage.share / 100:g} % {rollout.reason}")
    return rollout


def _ask(stack: ThreadedStack, photo: bytes, version: str) -> float:
    address = urlsplit(stack.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=TIMEOUT_S)
    headers = {"x-api-key": stack.api_key, "content-type": "image/jpeg", "x-headrace-version": version}
    began = time.monotonic()
    try:
        connection.request("POST", PATH, body=photo, headers={**headers, "cache-control": "no-store"})
        connection.getresponse().read()
    finally:
        connection.close()
    return time.monotonic() - began
