"""Who is compared, by name."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.fleet.baselines import NoPolicy, OfPowertools, PerContainer
from benchmarks.fleet.headrace_policy import Headrace
from benchmarks.fleet.scenarios import TIER_MAX
from benchmarks.fleet.values import Fleetwide

NO_POLICY = "no policy"
THREE_TRIES = "three tries"
PER_CONTAINER = "breaker per container"
POWERTOOLS = "Powertools' breaker"
POWERTOOLS_1_S = "Powertools', 1 s timeout"
HEADRACE = "Headrace"

CONTENDERS: dict[str, Callable[[], Fleetwide]] = {
    NO_POLICY: NoPolicy,
    THREE_TRIES: lambda: NoPolicy(THREE_TRIES, tries=3),
    PER_CONTAINER: PerContainer,
    POWERTOOLS: OfPowertools,
    POWERTOOLS_1_S: lambda: OfPowertools(POWERTOOLS_1_S, attempt_max_s=1.0),
    HEADRACE: lambda: Headrace(TIER_MAX),
}
"""Each makes the policy for one run, with stores of its own."""

ABOUT: dict[str, str] = {
    NO_POLICY: "one attempt, as long as the user waits; no stand-in",
    THREE_TRIES: "up to three attempts without a pause; no stand-in",
    PER_CONTAINER: "five failures in a row open it for 2 s, in that container only; stand-in behind it",
    POWERTOOLS: "the circuit breaker of Powertools for AWS Lambda 3.37, its defaults, one table; stand-in behind it",
    POWERTOOLS_1_S: "the same, and no call lasts longer than Headrace lets it last at first",
    HEADRACE: "`headrace.invocation.policy`, over the in-memory stores that ship with it",
}
