"""Capability routing: what may not serve does not, the draw is sticky, and the dry run tells the truth."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog import Capabilities, Catalog, Endpoint, Limits, Rung, Version
from headrace.errors import Forbidden, HeadraceError, InvalidRequest, PayloadTooLarge, UnknownTarget
from headrace.identity import Principal
from headrace.plans import Plan, Rate
from headrace.routing.assigned import Assigned, assign, chosen
from headrace.routing.capabilities import (
    SCOPE,
    UNDRAWN,
    UNROUTED,
    Explanation,
    Need,
    explain,
    route,
    why_not,
    why_not_rung,
)

LIMITS = Limits(max_payload_bytes=1000, max_items=10)
PLANS = [Plan("free", 0, 1, Rate(1, 1)), Plan("standard", 5, 1, Rate(1, 1)), Plan("premium", 9, 1, Rate(1, 1))]
STANDARD = PLANS[1]
ACME = Principal("acme", "standard", frozenset({"invoke", "read"}), "k1")
CALLERS = [f"acme\0{number}" for number in range(200)]


def version(name: str = "v1", weight: int = 1, **can: object) -> Version:
    """A hosted version with these capabilities."""
    return Version(name, "sha256:x", "endpoint", weight, Capabilities(**can))  # type: ignore[arg-type]


def endpoint(*versions: Version, ladder: tuple[Rung, ...] = (), name: str = "e") -> Endpoint:
    """An endpoint with these versions."""
    return Endpoint(name, "t", "d", False, (), (), (), versions, 1, 1, 1, LIMITS, ladder)


def declared(need: Need, *, caller: str) -> Callable[[Endpoint], Assigned]:
    """What holds for the caller where there is no routing document."""
    return lambda asked: assign(asked, None, need, caller=caller, tenant="acme", headers={}, request_id="r")


def reason(one: Version, need: Need, *, principal: Principal = ACME, plan: Plan = STANDARD) -> str:
    """Why the version may not serve."""
    return why_not(one, need, principal=principal, plan=plan)


@pytest.mark.parametrize(
    ("can", "need", "expected"),
    [
        ({}, Need(), ""),
        ({}, Need(pinned="v2"), "not_the_pinned_version"),
        ({"tenants": ("other",)}, Need(), "tenant_not_granted"),
        ({"tenants": ("other", "acme")}, Need(), ""),
        ({"plans": ("premium",)}, Need(), "plan_not_granted"),
        ({"tier_min": 6}, Need(), "tier_too_low"),
        ({"tier_min": 5}, Need(), ""),
        ({"groups": ("b",)}, Need(), "group_not_served"),
        ({"groups": ("b",)}, Need(group="a"), "group_not_served"),
        ({"groups": ("b",)}, Need(group="b"), ""),
        ({}, Need(group="b"), ""),
        ({"hardware": "cpu"}, Need(hardware="gpu"), "hardware_not_offered"),
        ({"cost_class": 3}, Need(cost_class_max=2), "cost_class_too_high"),
        ({"cost_class": 2}, Need(cost_class_max=2), ""),
        ({"languages": ("en", "de")}, Need(languages=("en", "fr")), "language_not_served"),
        ({"languages": ("en", "de")}, Need(languages=("de",)), ""),
        ({"languages": ("en",)}, Need(), ""),
        ({}, Need(languages=("fr",)), ""),
        ({"max_payload_bytes": 10}, Need(payload_bytes=11), "payload_too_large"),
        ({"max_items": 2}, Need(items=3), "too_many_items"),
        ({"max_text_chars": 5}, Need(text_chars=6), "text_too_long"),
        ({"max_text_chars": 5}, Need(text_chars=5), ""),
        ({"max_text_chars": 5}, Need(), ""),
        ({"tenants": ("other",), "max_items": 1}, Need(items=2), "tenant_not_granted"),
    ],
)
def test_each_capability_has_its_reason(can: dict[str, object], need: Need, expected: str) -> None:
    """Every field of a need is held against the field of the version that answers for it; grants are told first."""
    assert reason(version(**can), need) == expected


@pytest.mark.parametrize(
    ("versions", "need", "error", "code"),
    [
        ([{"tenants": ("other",)}], Need(), Forbidden, "tenant_not_granted"),
        ([{"plans": ("premium",)}], Need(), Forbidden, "plan_not_granted"),
        ([{"tier_min": 9}], Need(), Forbidden, "tier_too_low"),
        ([{"max_items": 2}], Need(items=3), InvalidRequest, "too_many_items"),
        ([{"max_text_chars": 2}], Need(text_chars=3), InvalidRequest, "text_too_long"),
        ([{"max_payload_bytes": 2}], Need(payload_bytes=3), PayloadTooLarge, "payload_too_large"),
        ([{"languages": ("en",)}], Need(languages=("fr",)), UnknownTarget, "no_version_matches"),
        ([{}], Need(hardware="cpu"), UnknownTarget, "no_version_matches"),
        ([{}], Need(cost_class_max=0), UnknownTarget, "no_version_matches"),
        # The version that came nearest speaks: a smaller request would be served, another key would not help.
        ([{"tenants": ("other",)}, {"max_items": 2}], Need(items=3), InvalidRequest, "too_many_items"),
        ([{"tenants": ("other",)}, {}], Need(hardware="cpu"), UnknownTarget, "no_version_matches"),
    ],
)
def test_a_refusal_says_what_would_help(
    versions: list[dict[str, object]], need: Need, error: type[HeadraceError], code: str
) -> None:
    """Grants are a 403, sizes a 400 or 413, wishes a 404, each with a stable code."""
    asked = endpoint(*(version(f"v{number}", **can) for number, can in enumerate(versions)))
    with pytest.raises(error) as refusal:
        route(asked, need, caller="c", principal=ACME, plan=STANDARD)
    assert refusal.value.code == code
    assert isinstance(refusal.value, PayloadTooLarge) == (error is PayloadTooLarge)


def test_the_largest_bound_is_told() -> None:
    """Who sends too much learns what the roomiest version takes."""
    asked = endpoint(version("a", max_items=2), version("b", max_items=5))
    with pytest.raises(InvalidRequest, match="at most 5 items"):
        route(asked, Need(items=6), caller="c", principal=ACME, plan=STANDARD)


def test_a_refused_wish_names_every_reason() -> None:
    """Two versions that fail a wish each in its own way are both told, in stable words."""
    asked = endpoint(version("a", cost_class=3), version("b", languages=("en",)))
    with pytest.raises(UnknownTarget, match=r"cost_class_too_high, language_not_served"):
        route(asked, Need(cost_class_max=2, languages=("fr",)), caller="c", principal=ACME, plan=STANDARD)


def test_the_scope_comes_first() -> None:
    """Who may not invoke the model learns nothing about its versions."""
    stranger = replace(ACME, scopes=frozenset({"read", "invoke:other"}))
    with pytest.raises(Forbidden, match="lacks the scope invoke:e"):
        route(endpoint(version()), Need(), caller="c", principal=stranger, plan=STANDARD)


def test_another_task_is_not_served() -> None:
    """A need for a task is not routed to a model of another."""
    with pytest.raises(UnknownTarget):
        route(endpoint(version()), Need(task="telepathy"), caller="c", principal=ACME, plan=STANDARD)


def test_a_pinned_version_must_be_granted_too() -> None:
    """Pinning is a wish and no key: it reaches a version of weight 0, and none that is kept for others."""
    asked = endpoint(version("v1"), version("v2", weight=0), version("v3", weight=0, tenants=("other",)))
    assert route(asked, Need(pinned="v2"), caller="c", principal=ACME, plan=STANDARD).name == "v2"
    with pytest.raises(Forbidden):
        route(asked, Need(pinned="v3"), caller="c", principal=ACME, plan=STANDARD)
    for absent in ("v9", "lite"):
        small = Version("lite", "sha256:x", "function", 1)
        with pytest.raises(UnknownTarget) as refusal:
            route(endpoint(version(), small), Need(pinned=absent), caller="c", principal=ACME, plan=STANDARD)
        assert refusal.value.code == "version_not_found"


def test_a_group_is_served_by_the_versions_that_name_it() -> None:
    """Callers in the group all get its versions, others never; where none may serve, the group is like everybody."""
    asked = endpoint(version("v1", weight=9), version("v2", groups=("blue",)), version("v3", groups=("blue",)))

    def served(over: Endpoint, group: str) -> set[str]:
        need = Need(group=group)
        return {route(over, need, caller=each, principal=ACME, plan=STANDARD).name for each in CALLERS}

    assert served(asked, "blue") == {"v2", "v3"}
    assert served(asked, "") == served(asked, "red") == {"v1"}
    kept = [replace(each, capabilities=replace(each.capabilities, tier_min=9)) for each in asked.versions[1:]]
    assert served(endpoint(asked.versions[0], *kept), "blue") == {"v1"}


def test_rungs_are_held_against_the_need() -> None:
    """A stand-in must be granted and fit like a primary; rules and the cache serve everyone."""
    lite = Version("lite", "sha256:x", "function", 1, Capabilities(hardware="cpu", plans=("premium",)))
    cpu, rules, stale = Rung("cpu", 1, "lite"), Rung("rules", 1), Rung("stale", 1)
    asked = endpoint(version(), lite, ladder=(stale, cpu, rules))

    def against(rung: Rung, need: Need, plan: Plan = PLANS[2]) -> str:
        return why_not_rung(asked, rung, need, principal=ACME, plan=plan)

    assert [against(rung, Need()) for rung in asked.ladder] == ["", "", ""]
    assert against(cpu, Need(), STANDARD) == "plan_not_granted"
    assert against(cpu, Need(hardware="gpu")) == "hardware_not_offered"
    assert [against(rung, Need(pinned="v1")) for rung in asked.ladder] == [
        "",
        "not_the_pinned_version",
        "not_the_pinned_version",
    ]


# -- properties -----------------------------------------------------------------------------------------------------

WORDS = st.sampled_from(["a", "b", "c"])
SOME = st.lists(WORDS, max_size=2, unique=True).map(tuple)
NAMES = st.lists(st.sampled_from([f"v{number}" for number in range(6)]), min_size=1, max_size=6, unique=True)
BOUND = st.none() | st.integers(1, 5)
CAPABILITIES = st.builds(
    Capabilities,
    hardware=st.sampled_from(["gpu", "cpu"]),
    cost_class=st.integers(0, 3),
    languages=SOME,
    max_items=BOUND,
    max_text_chars=BOUND,
    max_payload_bytes=BOUND,
    tenants=SOME,
    plans=st.lists(st.sampled_from([plan.name for plan in PLANS]), max_size=2, unique=True).map(tuple),
    groups=SOME,
    tier_min=st.integers(0, 9),
)


@st.composite
def endpoints(draw: st.DrawFn, name: str = "e") -> Endpoint:
    """Endpoints with up to six versions, hosted or not, and a ladder over them; one has traffic at least."""
    versions = [
        Version(
            each,
            "sha256:x",
            draw(st.sampled_from(["endpoint", "endpoint", "function"])),
            draw(st.integers(0, 5)),
            draw(CAPABILITIES),
        )
        for each in draw(NAMES)
    ]
    versions[0] = replace(versions[0], hosting="endpoint", weight=max(1, versions[0].weight))
    rungs = [Rung("stale", 1), Rung("rules", 1)] + [
        Rung("variant" if each.hosting == "endpoint" else "cpu", 1, each.name) for each in versions
    ]
    return endpoint(*versions, ladder=tuple(draw(st.lists(st.sampled_from(rungs), max_size=4))), name=name)


NEEDS = st.builds(
    Need,
    items=st.integers(1, 6),
    text_chars=st.none() | st.integers(0, 6),
    payload_bytes=st.integers(0, 6),
    languages=SOME,
    hardware=st.none() | st.sampled_from(["gpu", "cpu"]),
    cost_class_max=st.none() | st.integers(0, 3),
    group=st.just("") | WORDS,
    pinned=st.none() | st.sampled_from(["v0", "v1", "v9"]),
)
PRINCIPALS = st.builds(
    Principal,
    tenant=WORDS,
    plan=st.just("unused"),
    scopes=st.sampled_from([frozenset({"invoke"}), frozenset({"invoke:e"}), frozenset({"read"})]),
    key_id=st.just("k"),
)


@dataclass(frozen=True)
class Asking:
    """One request, as far as routing sees it."""

    need: Need
    principal: Principal
    plan: Plan
    caller: str

    def outcome(self, asked: Endpoint) -> Version | HeadraceError:
        """What `route` answers, or raises."""
        try:
            assigned = declared(self.need, caller=self.caller)(asked)
            return chosen(assigned, principal=self.principal, plan=self.plan)
        except HeadraceError as error:
            return error

    def explained(self, catalog: Catalog, *, model: str | None) -> Explanation:
        """What the dry run tells."""
        return explain(
            catalog,
            self.need,
            model=model,
            principal=self.principal,
            plan=self.plan,
            in_force=declared(self.need, caller=self.caller),
        )


ASKING = st.builds(Asking, NEEDS, PRINCIPALS, st.sampled_from(PLANS), st.sampled_from(CALLERS))


@given(asked=endpoints(), asking=ASKING)
def test_only_the_eligible_serve(asked: Endpoint, asking: Asking) -> None:
    """Whatever is declared and asked: what serves may serve, and a refusal means that nothing may."""
    pinned = asking.need.pinned
    candidates = [
        each
        for each in asked.hosted
        if (each.weight > 0 or pinned == each.name)
        and not reason(each, asking.need, principal=asking.principal, plan=asking.plan)
    ]
    outcome = asking.outcome(asked)
    if isinstance(outcome, Version):
        assert outcome in candidates
        assert asking.principal.may_invoke("e")
        assert outcome == asking.outcome(asked)
    else:
        assert not candidates or not asking.principal.may_invoke("e")
        assert outcome.code


@given(asked=endpoints(), asking=ASKING)
def test_what_may_not_serve_moves_only_its_own_callers(asked: Endpoint, asking: Asking) -> None:
    """Taking one version away from a request moves the callers that it served, and no other."""
    asking = replace(
        asking,
        need=replace(asking.need, pinned=None),
        principal=replace(asking.principal, scopes=frozenset({"invoke"})),
    )

    def served(over: Endpoint) -> list[str]:
        outcomes = [replace(asking, caller=caller).outcome(over) for caller in CALLERS[:40]]
        return [outcome.name for outcome in outcomes if isinstance(outcome, Version)]

    before = served(asked)
    for gone in {*before}:
        versions = tuple(
            replace(each, capabilities=replace(each.capabilities, tenants=("nobody",))) if each.name == gone else each
            for each in asked.versions
        )
        after = served(replace(asked, versions=versions))
        if after:
            assert gone not in after
            assert all(new == old for old, new in zip(before, after, strict=True) if old != gone)
        else:
            assert {*before} == {gone}


@given(asked=endpoints(), other=endpoints(name="f"), asking=ASKING)
def test_the_dry_run_tells_the_truth(asked: Endpoint, other: Endpoint, asking: Asking) -> None:
    """`explain` names the version that `route` chooses, or the error that it raises, and a reason for all the rest."""
    catalog = Catalog({"e": replace(asked, default=True), "f": other}, {each.name: each for each in PLANS})
    told = asking.explained(catalog, model="e")
    outcome = asking.outcome(asked)
    if isinstance(outcome, Version):
        assert told.chosen == f"e/{outcome.name}"
        assert told.refusal is None
        assert told.chosen not in told.ladder
    else:
        assert (told.chosen, told.ladder) == ("", ())
        assert told.refusal is not None
        assert (type(told.refusal), told.refusal.code) == (type(outcome), outcome.code)
    stand_ins = {"e/stale", "e/rules", "e/cpu"}
    assert {f"e/{each.name}" for each in asked.hosted} <= {each.target for each in told.considered}
    for each in told.considered:
        assert each.eligible == (each.reason in {"", UNDRAWN})
        assert each.reason or each.target == told.chosen or each.target in stand_ins
    if not asking.principal.may_invoke("e"):
        assert {each.reason for each in told.considered} == {SCOPE}
    by_task = replace(asking, need=replace(asking.need, task="t")).explained(catalog, model=None)
    assert (by_task.chosen, by_task.ladder) == (told.chosen, told.ladder)
    assert {each.reason for each in by_task.considered if each.target.startswith("f/")} <= {"not_the_default"}


def test_the_dry_run_tells_why_a_version_without_traffic_does_not_serve() -> None:
    """A version of weight 0 fits and is not drawn; the ladder leaves the chosen version out."""
    asked = endpoint(
        version("v1"),
        version("v2", weight=0),
        ladder=(Rung("stale", 1), Rung("variant", 1, "v1"), Rung("variant", 1, "v2"), Rung("rules", 1)),
    )
    told = explain(
        Catalog({"e": asked}), Need(), model="e", principal=ACME, plan=STANDARD, in_force=declared(Need(), caller="c")
    )
    assert told.chosen == "e/v1"
    assert told.ladder == ("e/stale", "e/v2", "e/rules")
    assert [(each.target, each.reason) for each in told.considered] == [
        ("e/v1", ""),
        ("e/v2", UNROUTED),
        ("e/stale", ""),
        ("e/rules", ""),
    ]


def test_the_dry_run_tells_which_version_was_not_drawn() -> None:
    """Two versions that both fit: one serves, the other might have."""
    asked = endpoint(version("v1"), version("v2"))
    for caller in CALLERS[:10]:
        in_force = declared(Need(), caller=caller)
        told = explain(Catalog({"e": asked}), Need(), model="e", principal=ACME, plan=STANDARD, in_force=in_force)
        reasons = {each.target: each.reason for each in told.considered}
        assert reasons.pop(told.chosen) == ""
        assert list(reasons.values()) == [UNDRAWN]
