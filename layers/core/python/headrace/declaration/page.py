"""The page that documents the declared endpoints and plans, written from the declarations themselves."""

from __future__ import annotations

from collections.abc import Mapping

from headrace.batches.bounds import TRANSFORM_RECORDS_MIN
from headrace.declaration.plans import WINDOWS_S
from headrace.declaration.policy import CacheDeclaration, CostDeclaration, Rung, ServesDeclaration
from headrace.declaration.rollout import plan_of
from headrace.declaration.schema import EndpointDeclaration
from headrace.plans import Plan
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION

_ROUTES = {TEXT_CLASSIFICATION: "POST /v1/classifications", OBJECT_DETECTION: "POST /v1/detections"}
HEAD = """\
# Endpoints

Written by `make docs` from `endpoints/*/endpoint.yaml` and `endpoints/plans.yaml`; a test fails when they differ.
"""
PLANS_HEAD = """\
## Plans

What the tenants of a plan may use, each for itself. Under overload the lowest tier is turned away first.

| plan | tier | at once | requests per second | burst | budgets |
| --- | --- | --- | --- | --- | --- |
"""
_PER = {seconds: name for name, seconds in WINDOWS_S.items()}


def write_page(declarations: list[EndpointDeclaration], plans: Mapping[str, Plan]) -> str:
    """Markdown: one section per endpoint, in the order of their names, then the plans, highest tier first."""
    ordered = sorted(plans.values(), key=lambda plan: (-plan.tier, plan.name))
    return "\n".join([HEAD, *map(_section, declarations), PLANS_HEAD + "".join(map(_plan, ordered))])


def _plan(plan: Plan) -> str:
    budgets = ", ".join(f"{budget.amount} {budget.unit} per {_PER[budget.window_s]}" for budget in plan.budgets)
    cells = (f"`{plan.name}`", plan.tier, plan.concurrency, f"{plan.rate.per_s:g}", plan.rate.burst, budgets or "-")
    return f"| {' | '.join(map(str, cells))} |\n"


def _rung(rung: Rung) -> str:
    version = f" `{rung.version}`" if rung.kind == "variant" else ""
    return f"`{rung.kind}`{version} ({rung.timeout_ms} ms)"


def _cost(cost: CostDeclaration | None) -> str:
    if cost is None:
        return "nothing"
    each = {"request": cost.per_request, "item": cost.per_item, "second": cost.per_second}
    return " and ".join(f"{units} {cost.unit} per {of}" for of, units in each.items() if units) or f"0 {cost.unit}"


def _cache(cache: CacheDeclaration | None) -> str:
    if cache is None:
        return "no answer is kept"
    where = "each function and the table" if cache.shared else "each function"
    return (
        f"fresh for {cache.fresh_s} s, stale until {cache.stale_s} s, at most {cache.entry_bytes_max} bytes, in {where}"
    )


def _batch(declaration: EndpointDeclaration) -> str:
    declared = declaration.batch
    kind = declared.transform_instance_type or declaration.hardware.instance_types[0]
    return (
        f"at most {declared.items_per_request_max or declaration.limits.max_items} items in a request; "
        f"from {declared.transform_records_min or TRANSFORM_RECORDS_MIN} records on "
        f"a transform job of {declared.transform_instances} x {kind}"
    )


def _jobs(declaration: EndpointDeclaration) -> str:
    declared = declaration.async_inference
    if declared is None:
        return "as any request"
    types = ", ".join(declared.instance_types or declaration.hardware.instance_types)
    return (
        f"`{declaration.async_version}` on an asynchronous endpoint: "
        f"0 to {declared.max_instances} instances ({types}), "
        f"{declared.concurrent_requests_per_instance} requests each, {declared.timeout_s} s at work, "
        f"{declared.queue_s} s in the queue"
    )


def _serves(serves: ServesDeclaration) -> str:
    said = serves.model_dump(exclude_defaults=True)
    shown = {name: ", ".join(value) if isinstance(value, list) else value for name, value in said.items()}
    return "; ".join(f"`{name}` {value}" for name, value in shown.items())


def _rollouts(declaration: EndpointDeclaration) -> str:
    plan = plan_of(declaration.rollout, availability=declaration.slo.availability)
    bounded = [f"`{limit.metric}` below {limit.rate_max:.3g}" for limit in plan.limits if limit.rate_max < 1.0]
    compared = [f"`{limit.metric}`" for limit in plan.limits if limit.rate_max >= 1.0]
    steps = ", ".join(f"{share / 100:g}" for share in plan.steps)
    said = [f"steps of {steps} %", *([f"shadows {plan.shadow / 100:g} %"] if plan.shadow else [])]
    said += [f"{', '.join(bounded)} to be promoted"] if bounded else []
    said += [f"{', '.join(compared)} compared with the control"] if compared else []
    return "; ".join([*said, f"false rollbacks at most {plan.alpha:g}"])


def _capacity(declaration: EndpointDeclaration) -> str:
    capacity, shared = declaration.capacity, declaration.components
    said = f"{capacity.mode}, {capacity.min_instances} to {capacity.max_instances} instances"
    each = f"{capacity.concurrent_requests_per_instance} requests each"
    if shared is None:
        return f"{said} per version, {each}"
    most = f" to {shared.max_copies}" if shared.max_copies else " or more"
    copies = f"{shared.min_copies}{most} copies of each version, {shared.copies_per_instance} to an instance"
    return f"{said} that all versions share, {each}; {copies}"


def _section(declaration: EndpointDeclaration) -> str:
    hosted = {name: version for name, version in declaration.versions.items() if version.hosting == "endpoint"}
    total = sum(version.weight for version in hosted.values())
    shares = ", ".join(f"`{name}` {version.weight / total:.0%}" for name, version in hosted.items())
    ladder = " → ".join(["primary", *map(_rung, declaration.fallback), "503 with `Retry-After`"])
    limits = ", ".join(
        f"`{name}` {value}" for name, value in declaration.limits.model_dump().items() if value is not None
    )
    serves = {name: _serves(version.serves) for name, version in declaration.versions.items()}
    costs = {name: _cost(version.cost) for name, version in declaration.versions.items() if version.cost is not None}
    hardware = declaration.hardware
    rows = (
        ("task", declaration.task + (" (default)" if declaration.default else "")),
        ("ask at", f"`{_ROUTES.get(declaration.task, f'POST /v2/models/{declaration.name}/infer')}`"),
        ("labels", ", ".join(declaration.labels or ()) or "-"),
        ("traffic", shares),
        ("ladder", ladder),
        ("deadline", f"{declaration.deadline.default_ms} ms, at most {declaration.deadline.max_ms} ms on request"),
        ("SLO", f"p99 {declaration.slo.latency_p99_ms} ms, availability {declaration.slo.availability:.3%}"),
        ("limits", limits),
        ("serves", " / ".join(f"`{name}`: {text}" for name, text in serves.items() if text) or "everyone"),
        ("costs", "; ".join([_cost(declaration.cost), *(f"`{name}`: {text}" for name, text in costs.items())])),
        ("cache", _cache(declaration.cache)),
        ("hedged", "yes" if declaration.hedge else "no"),
        ("contract", f"API version {declaration.api_version}"),
        ("golden requests", ", ".join(f"`{golden.name}`" for golden in declaration.golden) or "none"),
        ("batches", _batch(declaration)),
        ("jobs", _jobs(declaration)),
        ("rollouts", _rollouts(declaration)),
        ("runs on", f"{hardware.accelerator}: {', '.join(hardware.instance_types)}"),
        ("capacity", _capacity(declaration)),
    )
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return f"## {declaration.name}\n\n{declaration.description}\n\n| | |\n| --- | --- |\n{table}\n"
