"""What an operator is told before a rollout."""

import math
from dataclasses import replace

import pytest

from headrace.rollouts.bounds import requests_needed
from headrace.rollouts.forecast import forecast
from headrace.rollouts.plan import Limit, RolloutPlan

PLAN = RolloutPlan((Limit("failed", rate_max=0.02), Limit("slower", odds_allowed=1.25)))


def test_each_step_is_forecast_from_its_own_bound_and_share() -> None:
    """At 1 % a hundred requests go by for each of the canary's."""
    measuring, first, *_, last = steps = forecast(PLAN, 10.0)
    needed = requests_needed(0.02, alpha=0.05)
    assert needed is not None
    assert [step.share for step in steps] == [0, *PLAN.steps]
    assert (measuring.requests, measuring.canary_requests, measuring.seconds) == (200.0, 0.0, 20.0)
    assert (first.canary_requests, first.requests, first.seconds) == (needed, 100.0 * needed, 10.0 * needed)
    assert (last.requests, last.seconds) == (needed, PLAN.bake_s)


def test_a_control_that_fails_now_and_then_makes_it_longer() -> None:
    """And one that fails more often than the limit makes it endless."""
    steps = [forecast(PLAN, 10.0, rates={"failed": rate})[1].seconds for rate in (0.0, 0.01, 0.03)]
    assert steps[0] < steps[1] < steps[2] == math.inf


def test_without_traffic_nothing_ends() -> None:
    """But what it takes is known all the same."""
    step = forecast(PLAN, 0.0)[1]
    assert step.seconds == math.inf
    assert step.canary_requests == requests_needed(0.02, alpha=0.05)


def test_comparisons_take_the_controls_requests() -> None:
    """Copies are a part of what the control serves; with nothing left to it, none are waited for."""
    plan = replace(PLAN, limits=(Limit("disagreed", rate_max=0.2),), shadow=500, measure_requests=0)
    steps = forecast(plan, 10.0)
    needed = requests_needed(0.2, alpha=0.05)
    assert needed is not None
    assert steps[0].requests == pytest.approx(needed / (0.05 * 0.99), rel=0.2)
    assert steps[-1].seconds == plan.bake_s
    assert forecast(replace(plan, shadow=0), 10.0)[0].requests == math.inf


def test_steps_without_bounds_last_their_bake_time() -> None:
    """And traffic cannot be below nothing."""
    plan = replace(PLAN, limits=(Limit("slower", odds_allowed=1.25),), measure_requests=0)
    assert {step.seconds for step in forecast(plan, 10.0)} == {plan.bake_s}
    with pytest.raises(ValueError, match="below 0"):
        forecast(PLAN, -1.0)
