"""From what an operator types to a rollout's plan: the declaration's section, with what the command line changes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast, get_args

from headrace_cli.problems import UsageProblem, plain

if TYPE_CHECKING:
    from headrace.declaration.schema import EndpointDeclaration
    from headrace.rollouts.plan import RolloutPlan

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhd])")
PERCENT_MAX = 100
LOOK_S_MAX = 60
"""The controller comes by at least so often, whatever is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command line says; None, and nothing, leave it to the declaration."""

    steps: str | None = None
    alpha: float | None = None
    confidence: float | None = None
    bake: str | None = None
    step_max: str | None = None
    look: str | None = None
    shadow: float | None = None
    measure: int | None = None
    limits: Sequence[str] = ()
    odds: Sequence[str] = ()
    without: Sequence[str] = ()


def plan_for(declaration: "EndpointDeclaration", wish: Wish) -> "RolloutPlan":
    """The plan. Raises UsageProblem."""
    from pydantic import ValidationError

    from headrace.declaration.rollout import RolloutDeclaration, plan_of

    said: dict[str, Any] = declaration.rollout.model_dump()
    wished = {
        "steps": percents(wish.steps),
        "alpha": wish.alpha,
        "confidence": wish.confidence,
        "bake_s": seconds(wish.bake, "--bake"),
        "step_s_max": seconds(wish.step_max, "--step-max"),
        "shadow": wish.shadow,
        "measure_requests": wish.measure,
    }
    said |= {name: value for name, value in wished.items() if value is not None}
    for texts, option, field in ((wish.limits, "--limit", "rate_max"), (wish.odds, "--odds", "odds_allowed")):
        for text in texts:
            name, number = named_number(text, option)
            said["limits"][name] = {**(said["limits"][name] or {}), field: number}
    for name in wish.without:
        said["limits"][_metric(name, "--without")] = None
    try:
        declared = RolloutDeclaration.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageProblem(f"{where + ': ' if where else ''}{plain(first['msg'])}.") from error
    plan = plan_of(declared, availability=declaration.slo.availability)
    if not plan.limits:
        raise UsageProblem("No metric is left to judge by: leave one of --without out.")
    unused = [text for text in wish.limits if text.partition("=")[0] not in {limit.metric for limit in plan.limits}]
    if unused:
        raise UsageProblem(f"{plain(unused[0])} limits what does not count here: disagreed needs --shadow.")
    look_s = seconds(wish.look, "--look")
    if look_s is not None and not 1 <= look_s <= LOOK_S_MAX:
        raise UsageProblem(f"--look is from 1s to {LOOK_S_MAX}s.")
    return plan if look_s is None else replace(plan, look_s=float(look_s))


def percents(text: str | None) -> list[float] | None:
    """Percents with commas between, such as 1,5,25,50,100. Raises UsageProblem."""
    if text is None:
        return None
    try:
        return [float(part.strip().removesuffix("%")) for part in text.split(",")]
    except ValueError:
        raise UsageProblem(
            f"--steps are percents with commas between, like 1,5,25,50,100; not {plain(text)}."
        ) from None


def seconds(text: str | None, option: str) -> int | None:
    """A duration such as 30s, 5m, 24h or 2d. Raises UsageProblem."""
    if text is None:
        return None
    matched = _DURATION.fullmatch(text.strip())
    if matched is None:
        raise UsageProblem(f"{option} is a duration like 30s, 5m or 24h; not {plain(text)}.")
    return int(matched[1]) * _UNITS_S[matched[2]]


def duration(seconds_: float) -> str:
    """A duration as people say it, in its two largest units."""
    if seconds_ == float("inf"):
        return "no end in sight"
    left = round(seconds_)
    parts: list[str] = []
    for unit, length in reversed(_UNITS_S.items()):
        if left >= length and len(parts) < 2:  # noqa: PLR2004 - the two largest
            parts.append(f"{left // length}{unit}")
            left %= length
        elif parts:
            break
    return " ".join(parts) or "0s"


def points(percentage: float, option: str) -> int:
    """Basis points of a percentage. Raises UsageProblem."""
    if not 0 <= percentage <= PERCENT_MAX:  # so NaN is none either
        raise UsageProblem(f"{option} is a percentage from 0 to 100.")
    return round(percentage * 100)


def percent(points: float) -> str:
    """Basis points as a percentage."""
    return f"{points / 100:g} %"


def named_number(text: str, option: str) -> tuple[str, float]:
    """A metric and a number, such as failed=0.05. Raises UsageProblem."""
    name, _, number = text.partition("=")
    try:
        return _metric(name, option), float(number)
    except ValueError:
        raise UsageProblem(f"{option} is METRIC=NUMBER, like failed=0.05; not {plain(text)}.") from None


def _metric(name: str, option: str) -> str:
    from headrace.rollouts.metrics import Metric

    known = cast("tuple[str, ...]", get_args(Metric))
    if name not in known:
        raise UsageProblem(f"{option} knows {', '.join(known)}; not {plain(name)}.")
    return name
