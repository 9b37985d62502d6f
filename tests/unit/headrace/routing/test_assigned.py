"""One request's part of the routing document: who is served by what, whose counts it is, and what is copied."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.catalog import AsyncRules, Rung, Version
from headrace.routing import changes
from headrace.routing.assigned import CANARY
from headrace.routing.capabilities import Need
from headrace.routing.document import WEIGHT_SUM, Group, Shadow, Sticky
from headrace.routing.moves import OTHERS, moves
from tests.unit.headrace.routing.documents import (
    BY,
    ask,
    at_share,
    endpoint,
    experiment,
    rollout,
    routing,
    served,
    version,
)

ASKED = endpoint()
CALLERS = [str(number) for number in range(4_000)]
HALF = 5_000


def refusing(*names: str) -> object:
    """Says that these versions may not serve."""
    return lambda one, _need: "tenant_not_granted" if one.name in names else ""


def shares(document: object, **more: object) -> Counter[str]:
    """How many callers each version serves."""
    return Counter(served(ask(ASKED, document, caller, **more)) for caller in CALLERS)  # type: ignore[arg-type]


def test_weights_are_kept_exactly_enough() -> None:
    """Each version serves its share of callers, and a caller the same one every time."""
    document = routing(v1=7_000, v2=2_500, v3=500)
    counts = shares(document)
    for name, weight in document.weights.items():
        assert counts[name] / len(CALLERS) == pytest.approx(weight / WEIGHT_SUM, abs=0.02)
    assert counts == shares(document)


def test_without_a_document_the_declaration_decides_as_the_first_document_will() -> None:
    """Writing down what is declared moves nobody."""
    asked = endpoint(version("v1", 90), version("v2", 9), version("v3", 1))
    written = changes.of_declaration(asked)
    assert written.weights == {"v1": 9_000, "v2": 900, "v3": 100}
    for caller in CALLERS[:500]:
        assert served(ask(asked, None, caller)) == served(ask(asked, written, caller))


def test_the_order_in_which_the_document_is_asked() -> None:
    """The caller's own pin, then the tenant's, then an experiment, then the group's weights, then everyone's."""
    document = replace(
        routing(v1=WEIGHT_SUM),
        groups=(Group("beta", {"v2": WEIGHT_SUM}, ("acme",), by_header=True),),
        pins={"globex": "v3"},
        experiments=(experiment(arms={"control": "v4", "b": "v4"}, tenants=("initech", "globex")),),
    )
    assert served(ask(ASKED, document, tenant="other")) == "v1"
    assert served(ask(ASKED, document, tenant="acme")) == "v2"
    assert served(ask(ASKED, document, tenant="other", need=Need(group="beta"))) == "v2"
    assert served(ask(ASKED, document, tenant="initech")) == "v4"
    pinned = ask(ASKED, document, tenant="globex")
    assert (served(pinned), pinned.pinned, pinned.subject) == ("v3", "v3", "")
    own = ask(ASKED, document, tenant="globex", need=Need(pinned="v1"))
    assert (own.pinned, own.need.pinned, own.subject) == (None, "v1", "")


def test_a_group_that_is_not_open_is_not_joined_by_the_header() -> None:
    """Only `by_header` lets a caller in; the tenants' list holds whatever they send."""
    document = replace(routing(), groups=(Group("beta", {"v2": WEIGHT_SUM}, ("acme",)),))
    assert served(ask(ASKED, document, tenant="other", need=Need(group="beta"))) == "v1"
    listed = ask(ASKED, document, tenant="acme", need=Need(group="gold"))
    assert (served(listed), listed.need.group) == ("v2", "beta")


@pytest.mark.parametrize(("gone", "why"), [("v9", "version_gone"), ("v3", "tenant_not_granted")])
def test_a_pin_that_cannot_be_kept_falls_to_the_weights(gone: str, why: str) -> None:
    """The request is served, and its record says what was passed over."""
    document = replace(routing(), pins={"acme": gone})
    assigned = ask(ASKED, document, why_not=refusing("v3"))  # type: ignore[arg-type]
    assert (served(assigned), assigned.pinned, assigned.passed_over) == ("v1", None, f"pin:{why}")


def test_a_group_without_a_version_for_the_caller_falls_to_the_weights() -> None:
    """The group's only version may not serve, so everyone's weights do."""
    document = replace(routing(), groups=(Group("beta", {"v3": WEIGHT_SUM}, ("acme",)),))
    assigned = ask(ASKED, document, why_not=refusing("v3"))  # type: ignore[arg-type]
    assert (served(assigned), assigned.passed_over) == ("v1", "group:no_version_fits")


def test_a_deployment_that_removed_versions_leaves_the_rest_in_their_proportions() -> None:
    """Slots of a version that is gone are drawn among those that are left; without any the declaration holds."""
    document = routing(v1=5_000, v2=3_000, v9=2_000)
    counts = shares(document)
    assert counts["v1"] / counts["v2"] == pytest.approx(5 / 3, rel=0.1)
    stayed = routing(v1=5_000, v2=5_000)
    assert all(
        served(ask(ASKED, document, caller)) == served(ask(endpoint(version("v1"), version("v2")), document, caller))
        for caller in CALLERS[:200]
    )
    assert served(ask(endpoint(version("v3", 1)), stayed)) == "v3"


@pytest.mark.parametrize("share", [0, 100, HALF])
def test_a_deployment_that_removes_the_control_leaves_the_canary_its_share(share: int) -> None:
    """What the declaration names takes the control's place, and is compared; the canary gets nothing by it."""
    start = routing(v1=WEIGHT_SUM)
    document = at_share(start, rollout(start, "v2"), share, shadow=1)
    deployed = endpoint(version("v2", 30), version("v3", 70))
    counts: Counter[str] = Counter()
    for caller in CALLERS:
        assigned = ask(deployed, document, caller)
        assert assigned.subject == "ro_1"
        assert (assigned.arm == CANARY) == (served(assigned) == "v2")
        counts[served(assigned)] += 1
    assert set(counts) <= {"v2", "v3"}
    assert counts["v2"] / len(CALLERS) == pytest.approx(share / WEIGHT_SUM, abs=0.02)
    alone = endpoint(version("v2", 1))
    assert served(ask(alone, document)) == "v2"


def test_a_key_that_is_no_text_is_drawn_as_any_other() -> None:
    """A header may hold half of a character: its caller is served all the same."""
    document = replace(routing(v1=HALF, v2=HALF), sticky=Sticky(headers=("x-user",)))
    headers = {"x-user": "\ud800"}
    assert served(ask(ASKED, document, headers=headers)) == served(ask(ASKED, document, headers=headers))
    refuse = refusing("v2")
    assert served(ask(ASKED, document, "\ud800", why_not=refuse), refuse) == "v1"  # type: ignore[arg-type]


def test_what_was_withdrawn_stands_in_for_nobody() -> None:
    """Neither the ladder nor the asynchronous endpoint nor the declared weights bring it back."""
    asked = endpoint(version("v1", 1), version("v2", 99), ladder=(Rung("variant", 1, "v2"), Rung("rules", 1)))
    asked = replace(asked, async_inference=AsyncRules("v2", 1, 1))
    document = replace(routing(v9=WEIGHT_SUM), withdrawn={"v2": "ro_1"})
    assigned = ask(asked, document)
    assert served(assigned) == "v1"
    assert [rung.kind for rung in assigned.endpoint.ladder] == ["rules"]
    assert assigned.endpoint.async_inference is None


@pytest.mark.parametrize("share", [0, 100, HALF, WEIGHT_SUM])
def test_a_rollout_counts_whom_it_divides(share: int) -> None:
    """Callers are counted for the arm that serves them, in the share that the document says."""
    start = routing(v1=9_000, v2=1_000)
    document = at_share(start, rollout(start, "v3"), share, stage=4)
    arms: Counter[str] = Counter()
    for caller in CALLERS:
        assigned = ask(ASKED, document, caller)
        assert (assigned.subject, assigned.stage) == ("ro_1", 4)
        assert (assigned.arm == CANARY) == (served(assigned) == "v3")
        arms[assigned.arm] += 1
    assert arms[CANARY] / len(CALLERS) == pytest.approx(share / WEIGHT_SUM, abs=0.02)


def test_the_canary_has_its_share_of_callers_whom_another_version_may_not_serve() -> None:
    """Their slots go to the rest of the control: else the canary would seem to fail more often than it is asked."""
    start = routing(v1=8_000, v2=2_000)
    document = at_share(start, rollout(start, "v3"), 1_000)
    refuse = refusing("v1")
    counts = Counter(served(ask(ASKED, document, caller, why_not=refuse), refuse) for caller in CALLERS)  # type: ignore[arg-type]
    assert set(counts) == {"v2", "v3"}
    assert counts["v3"] / len(CALLERS) == pytest.approx(0.1, abs=0.015)


@pytest.mark.parametrize("refused", [("v3",), ("v1", "v2")])
def test_who_cannot_be_drawn_to_both_arms_counts_for_none(refused: tuple[str, ...]) -> None:
    """Neither callers whom the canary may not serve nor those whom only the canary may serve."""
    start = routing(v1=9_000, v2=1_000)
    document = at_share(start, rollout(start, "v3"), HALF, shadow=WEIGHT_SUM)
    for caller in CALLERS[:50]:
        assigned = ask(ASKED, document, caller, why_not=refusing(*refused))  # type: ignore[arg-type]
        assert (assigned.subject, assigned.arm, assigned.shadow) == ("", "", "")


def test_pins_groups_and_experiments_take_no_part_in_a_rollout() -> None:
    """Their callers have been told apart by something else than chance."""
    start = replace(
        routing(),
        groups=(Group("beta", {"v1": HALF, "v3": HALF}, ("acme",)),),
        pins={"globex": "v3"},
        experiments=(experiment(tenants=("initech",)),),
    )
    document = at_share(start, rollout(start, "v3"), HALF, shadow=WEIGHT_SUM)
    for caller in CALLERS[:50]:
        for tenant, subject in (("acme", ""), ("globex", ""), ("initech", "ex_wider")):
            assigned = ask(ASKED, document, caller, tenant=tenant)
            assert (assigned.subject, assigned.shadow) == (subject, "")


def test_an_experiment_divides_its_audience_and_nobody_else() -> None:
    """A fifth of callers, half to each arm, each the same arm always; names salt it, so experiments are independent."""
    document = replace(
        routing(v4=WEIGHT_SUM),
        experiments=(experiment("a", share=2_000), experiment("b", share=WEIGHT_SUM)),
    )
    taken = [ask(ASKED, document, caller) for caller in CALLERS]
    arms = Counter((each.experiment, each.arm) for each in taken)
    assert arms["a", "b"] + arms["a", "control"] == pytest.approx(0.2 * len(CALLERS), rel=0.1)
    assert arms["a", "b"] == pytest.approx(arms["a", "control"], rel=0.2)
    assert {(each.arm, served(each)) for each in taken} == {("control", "v1"), ("b", "v2")}
    alone = replace(document, experiments=(experiment("b"),))
    both = [ask(ASKED, alone, caller).arm for caller in CALLERS]
    in_a = [arm for arm, each in zip(both, taken, strict=True) if (each.experiment, each.arm) == ("a", "b")]
    assert in_a.count("b") / len(in_a) == pytest.approx(0.5, abs=0.08)


def test_an_experiment_leaves_out_whom_an_arm_may_not_serve() -> None:
    """Otherwise its arms would be served to different kinds of callers."""
    document = replace(routing(v4=WEIGHT_SUM), experiments=(experiment(),))
    assigned = ask(ASKED, document, why_not=refusing("v2"))  # type: ignore[arg-type]
    assert (served(assigned), assigned.subject) == ("v4", "")


def test_an_experiment_of_a_group_is_for_its_members() -> None:
    """Members of a group are in no experiment that does not name it; others are in none that does."""
    group = Group("beta", {"v4": WEIGHT_SUM}, ("acme",))
    document = replace(routing(), groups=(group,), experiments=(experiment("a", groups=("beta",)), experiment("b")))
    assert ask(ASKED, document, tenant="acme").experiment == "a"
    assert ask(ASKED, document, tenant="other").experiment == "b"
    without = replace(document, experiments=(experiment("b"),))
    assert served(ask(ASKED, without, tenant="acme")) == "v4"


def test_callers_stick_by_what_the_document_names() -> None:
    """By the first header that is there, within the tenant; by each request; else by the caller."""
    document = replace(routing(v1=HALF, v2=HALF), sticky=Sticky("caller", ("x-conversation", "x-user")))
    units = {
        ask(ASKED, document, caller, headers={"x-user": "u", "x-conversation": "c"}).unit for caller in CALLERS[:9]
    }
    assert len(units) == 1
    assert ask(ASKED, document, headers={"x-conversation": "c"}).unit in units
    assert ask(ASKED, document, headers={"x-user": "c"}).unit not in units
    assert ask(ASKED, document, tenant="other", headers={"x-conversation": "c"}).unit not in units
    assert ask(ASKED, document).unit == "acme\x001"
    anew = replace(document, sticky=Sticky("request"))
    drawn = Counter(served(ask(ASKED, anew, request_id=str(number))) for number in range(1_000))
    assert drawn["v1"] == pytest.approx(500, abs=80)


@settings(max_examples=40, deadline=None)
@given(share=st.integers(1, WEIGHT_SUM), caller=st.text("ab", max_size=3))
def test_a_copied_request_is_always_the_same_one(share: int, caller: str) -> None:
    """The same caller and request are copied or not, however often they are asked; never to the version that serves."""
    document = replace(routing(v1=HALF, v2=HALF), shadow=Shadow("v2", share))
    first = [ask(ASKED, document, caller, request_id=str(number)).shadow for number in range(20)]
    assert first == [ask(ASKED, document, caller, request_id=str(number)).shadow for number in range(20)]
    assert all(not copied or served(ask(ASKED, document, caller)) == "v1" for copied in first)


def test_the_declared_fraction_is_copied() -> None:
    """A tenth of the control's requests go to the shadow as well; none where it may not serve, none that is pinned."""
    document = replace(routing(), shadow=Shadow("v2", 1_000))
    copied = sum(ask(ASKED, document, request_id=str(number)).shadow == "v2" for number in range(4_000))
    assert copied == pytest.approx(400, rel=0.15)
    whole = replace(document, shadow=Shadow("v2", WEIGHT_SUM))
    assert ask(ASKED, whole).shadow == "v2"
    assert ask(ASKED, whole, why_not=refusing("v2")).shadow == ""  # type: ignore[arg-type]
    assert ask(ASKED, whole, need=Need(pinned="v1")).shadow == ""


def test_declared_groups_of_versions_hold_beside_the_documents() -> None:
    """A version that serves one group only has no share of other callers, and its share of its own group's rollout."""
    kept = version("v3", groups=("beta",))
    asked = endpoint(version("v1", 1), version("v2"), kept)

    def why_not(one: Version, need: Need) -> str:
        declared = one.capabilities.groups
        return "group_not_served" if declared and need.group not in declared else ""

    start = routing()
    document = at_share(start, rollout(start, "v3"), HALF)
    assert {ask(asked, document, caller, why_not=why_not).subject for caller in CALLERS[:50]} == {""}
    assert {served(ask(asked, document, caller, why_not=why_not), why_not) for caller in CALLERS[:50]} == {"v1"}


def test_a_dry_run_says_who_would_move() -> None:
    """Shares by version before and after, and named tenants apart from all others."""
    before = routing(v1=9_000, v2=1_000)
    after = changes.pinned(changes.reweighted(before, {"v1": 8_000, "v2": 2_000}, **BY), "acme", "v3", **BY)
    others, acme = moves(ASKED, before, after, callers=4_000)
    assert others.tenant == OTHERS
    assert set(others.moved) == {("v1", "v2")}
    assert others.share == pytest.approx(0.1, abs=0.02)
    assert others.served["v2"] == pytest.approx(0.2, abs=0.02)
    assert (acme.tenant, acme.share, acme.served) == ("acme", 1.0, {"v3": 1.0})
    assert moves(ASKED, before, before, callers=200)[0].share == 0.0
    assert moves(ASKED, None, changes.of_declaration(ASKED), callers=200)[0].share == 0.0


def test_a_dry_run_goes_through_where_a_deployment_has_removed_a_version() -> None:
    """The change that takes a version which is gone out of the document has to be possible."""
    [others] = moves(ASKED, routing(v1=HALF, v9=HALF), routing(v1=HALF, v2=HALF), callers=400)
    assert set(others.moved) == {("v1", "v2")}
    assert others.share == pytest.approx(0.5, abs=0.1)
