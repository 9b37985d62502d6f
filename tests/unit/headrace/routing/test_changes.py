"""Changes of a routing document: weights stay whole, callers stay put, and what was rolled back gets nothing."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidRequest
from headrace.routing import changes
from headrace.routing.checks import CODE, GROUPS_MAX, VERSIONS_MAX, check, problems
from headrace.routing.document import (
    EVERYONE,
    WEIGHT_SUM,
    Canary,
    Experiment,
    Group,
    Routing,
    Shadow,
    Slots,
    Sticky,
)
from headrace.routing.kept import dump, parse
from headrace.routing.slots import allot, counted, first_slots, mix, scaled
from tests.unit.headrace.routing.documents import (
    BY,
    NAMES,
    History,
    ask,
    at_share,
    endpoint,
    experiment,
    rollout,
    routing,
    served,
)

TENANTS = ("acme", "globex")
HALF = 5_000
RAW = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 1_000), min_size=1).filter(lambda raw: any(raw.values()))
WEIGHTS = RAW.map(scaled)
GROUPS = st.lists(
    st.builds(
        Group,
        st.sampled_from(["beta", "gold"]),
        WEIGHTS,
        st.sampled_from([(), ("acme",), ("globex",)]),
        st.booleans(),
    ),
    max_size=2,
).map(tuple)
SHADOWS = st.none() | st.builds(Shadow, st.sampled_from(NAMES), st.integers(1, WEIGHT_SUM))
PINS = st.dictionaries(st.sampled_from(TENANTS), st.sampled_from(NAMES))
DOCUMENTS = st.builds(
    lambda weights, groups, pins, shadow: Routing(
        endpoint="detect", weights=weights, groups=groups, pins=pins, shadow=shadow, version=1
    ),
    WEIGHTS,
    GROUPS,
    PINS,
    SHADOWS,
)
OPERATIONS = st.one_of(
    st.tuples(st.just("start"), st.sampled_from(NAMES)),
    st.tuples(st.just("again"), st.sampled_from(NAMES)),
    st.tuples(st.just("step"), st.integers(0, WEIGHT_SUM)),
    st.tuples(st.just("end"), st.sampled_from(["rolled_back", "rolled_back", "aborted", "finished"])),
    st.tuples(st.just("weigh"), WEIGHTS),
    st.tuples(st.just("apply"), DOCUMENTS),
    st.tuples(st.just("restore"), DOCUMENTS),
    st.tuples(st.just("pin"), st.sampled_from(TENANTS), st.sampled_from(NAMES)),
    st.tuples(st.just("unpin"), st.sampled_from(TENANTS)),
    st.tuples(st.just("experiment"), st.sampled_from([experiment("a"), experiment("b", share=500)])),
)


def owners(slots: Slots) -> list[str]:
    """Whose each slot is."""
    return [name for name, count in slots for _ in range(count)]


def done(history: History, operations: list[tuple[Any, ...]]) -> None:
    """Do them all; what is refused is left out."""
    for name, *arguments in operations:
        with suppress(InvalidRequest):
            getattr(history, name)(*arguments)


@settings(max_examples=40, deadline=None)
@given(operations=st.lists(OPERATIONS, max_size=12))
def test_whatever_is_done_the_document_stays_whole(operations: list[tuple[Any, ...]]) -> None:
    """Weights add up, slots say what weights say, versions rise by one, and the table's own reader takes it."""
    history = History()
    for operation in operations:
        before = history.document
        done(history, [operation])
        after = history.document
        assert after is before or after.version == before.version + 1
        assert sum(after.weights.values()) == WEIGHT_SUM
        assert min(after.weights.values()) >= 0
        assert counted(after.slots[EVERYONE]) == {name: weight for name, weight in after.weights.items() if weight}
        assert parse(dump(after)) == after
        if after.canary is not None:
            assert after.weights[after.canary.version] == after.canary.share


@settings(max_examples=40, deadline=None)
@given(operations=st.lists(OPERATIONS, max_size=12), callers=st.lists(st.text("abc", max_size=4), max_size=20))
def test_nothing_gives_traffic_to_a_version_that_was_rolled_back(
    operations: list[tuple[Any, ...]], callers: list[str]
) -> None:
    """No weight, group, pin, shadow or experiment of it is left or comes back but by a rollout that tries it again."""
    history = History()
    asked = endpoint()
    for operation in operations:
        done(history, [operation])
        document, gone = history.document, history.withdrawn
        assert set(document.withdrawn) == gone
        assert not any(document.weights.get(name, 0) for name in gone)
        for caller in callers:
            for tenant in (*TENANTS, "another"):
                assigned = ask(asked, document, caller, tenant=tenant)
                assert served(assigned) not in gone
                assert assigned.shadow not in gone


@settings(max_examples=60, deadline=None)
@given(before=WEIGHTS, after=WEIGHTS)
def test_only_callers_that_must_move_do(before: dict[str, int], after: dict[str, int]) -> None:
    """Slots change hands from versions that lost to versions that gained, as many as were gained and not one more."""
    one = changes.settled(Routing(endpoint="detect", version=1, weights=before))
    other = changes.reweighted(one, after, **BY)
    pairs = list(zip(owners(one.slots[EVERYONE]), owners(other.slots[EVERYONE]), strict=True))
    moved = [pair for pair in pairs if pair[0] != pair[1]]
    gains = {name: after.get(name, 0) - before.get(name, 0) for name in NAMES}
    assert all(gains[old] < 0 < gains[new] for old, new in moved)
    assert len(moved) == sum(gain for gain in gains.values() if gain > 0)


def test_the_share_of_callers_that_move_is_the_share_of_weight_that_moves() -> None:
    """One step of three versions: 4 % of callers change, all from the one that lost to those that gained."""
    asked = endpoint()
    before = routing(v1=6_000, v2=3_000, v3=1_000)
    after = changes.reweighted(before, {"v1": 5_600, "v2": 3_000, "v3": 1_100, "v4": 300}, **BY)
    moved: Counter[tuple[str, ...]] = Counter()
    for number in range(5_000):
        pair = tuple(served(ask(asked, document, str(number))) for document in (before, after))
        moved[pair] += pair[0] != pair[1]
    assert {pair for pair, count in moved.items() if count} == {("v1", "v3"), ("v1", "v4")}
    assert moved.total() == pytest.approx(0.04 * 5_000, rel=0.1)


@settings(max_examples=60, deadline=None)
@given(baseline=WEIGHTS, canary=st.sampled_from(NAMES), shares=st.lists(st.integers(0, WEIGHT_SUM), max_size=5))
def test_a_rollout_takes_and_gives_back_the_same_callers(
    baseline: dict[str, int], canary: str, shares: list[int]
) -> None:
    """A growing canary only takes, a shrinking one only gives; after an abort everybody is where he was."""
    start = changes.settled(Routing(endpoint="detect", version=1, weights=baseline))
    under_way = rollout(start, canary)
    if not any(weight for name, weight in baseline.items() if name != canary):
        with pytest.raises(InvalidRequest):
            at_share(start, under_way, 100)
        return
    document = at_share(start, under_way, 0, stage=0)
    for number, share in enumerate(sorted(shares)):
        before, document = document, at_share(document, under_way, share, stage=number + 1)
        kept = zip(owners(before.slots[EVERYONE]), owners(document.slots[EVERYONE]), strict=True)
        assert all(new == canary for old, new in kept if old == canary)
        assert document.weights == mix(baseline, canary, share)
    assert changes.aborted(document, under_way, **BY).slots == start.slots
    back = changes.rolled_back(document, under_way, **BY)
    stayed = zip(owners(start.slots[EVERYONE]), owners(back.slots[EVERYONE]), strict=True)
    assert all(old == new for old, new in stayed if old != canary)
    assert back.withdrawn == {canary: under_way.rollout_id}
    assert back.canary is None
    whole = changes.finished(document, under_way, **BY)
    assert {name: weight for name, weight in whole.weights.items() if weight} == {canary: WEIGHT_SUM}


@given(baseline=RAW, canary=st.sampled_from(NAMES), share=st.integers(0, WEIGHT_SUM))
def test_mixing_keeps_proportions(baseline: dict[str, int], canary: str, share: int) -> None:
    """The canary has its share, the whole is the whole, and each other version is within a point of its proportion."""
    mixed = mix(scaled(baseline), canary, share)
    assert sum(mixed.values()) == WEIGHT_SUM
    others = {name: weight for name, weight in scaled(baseline).items() if name != canary}
    if not any(others.values()):
        assert mixed[canary] == WEIGHT_SUM
        return
    assert mixed[canary] == share
    for name, weight in others.items():
        exact = weight * (WEIGHT_SUM - share) / sum(others.values())
        assert abs(mixed[name] - exact) < 1
        assert weight or not mixed[name]


@settings(max_examples=30, deadline=None)
@given(weights=WEIGHTS)
def test_first_slots_are_the_same_everywhere(weights: dict[str, int]) -> None:
    """They follow from the weights alone, in any order, and have exactly the weights' counts."""
    slots = first_slots("detect", weights)
    assert slots == allot(dict(reversed(weights.items())), (), name="detect", salt="")
    assert counted(slots) == {name: weight for name, weight in weights.items() if weight}


def test_weights_wait_for_the_rollout_and_pins_and_groups_do_not() -> None:
    """What would move callers between its arms is refused by name; a person may still pin and group."""
    start = routing(v1=9_000, v2=1_000)
    under_way = rollout(start, "v3")
    document = at_share(start, under_way, 100)
    said: dict[str, Any] = {
        "weights": document.weights,
        "sticky": document.sticky,
        "groups": (),
        "pins": {},
        "shadow": None,
    }
    for other in ({"weights": {"v1": WEIGHT_SUM}}, {"sticky": Sticky("request")}, {"shadow": Shadow("v2", 1)}):
        with pytest.raises(InvalidRequest) as refused:
            changes.replaced(document, **{**said, **other}, **BY)
        assert refused.value.code == "rollout_active"
    with pytest.raises(InvalidRequest, match="ro_1"):
        changes.reweighted(document, {"v1": WEIGHT_SUM}, **BY)
    with pytest.raises(InvalidRequest):
        at_share(document, replace(under_way, rollout_id="ro_2"), 100)
    grouped = changes.replaced(document, **{**said, "groups": (Group("beta", {"v2": WEIGHT_SUM}, ("acme",)),)}, **BY)
    pinned = changes.pinned(grouped, "globex", "v3", **BY)
    assert pinned.weights == document.weights
    assert pinned.slots[EVERYONE] == document.slots[EVERYONE]


def test_versions_come_and_go_without_end() -> None:
    """Names without weight make room when there are too many; what is under way keeps its own."""
    document = routing(v0=WEIGHT_SUM)
    for number in range(1, 2 * VERSIONS_MAX):
        under_way = rollout(document, f"v{number}", number=number)
        document = at_share(document, under_way, 0, stage=0)
        document = at_share(document, under_way, HALF)
        assert document.weights[f"v{number}"] == document.weights[f"v{number - 1}"] == HALF
        document = changes.finished(document, under_way, **BY)
    assert {name for name, weight in document.weights.items() if weight} == {f"v{2 * VERSIONS_MAX - 1}"}
    assert len(document.weights) <= VERSIONS_MAX


def test_a_document_that_no_function_would_read_is_not_written() -> None:
    """Many groups of many versions are refused while it is a person's to mend, and never in the way of a rollback."""
    names = [f"a-version-with-a-long-name-{number:04}" for number in range(6)]
    start = replace(routing(**dict.fromkeys(names[:2], HALF)), slots={})
    weights = scaled(dict.fromkeys(names, 1))
    groups = tuple(Group(f"g{number}", weights, (f"t{number}",)) for number in range(GROUPS_MAX))
    said: dict[str, Any] = {"weights": start.weights, "sticky": start.sticky, "pins": {}, "shadow": None}
    with pytest.raises(InvalidRequest, match="groups") as refused:
        changes.replaced(start, groups=groups, **said, **BY)
    assert refused.value.code == CODE
    few = changes.replaced(start, groups=groups[:4], **said, **BY)
    assert changes.parse(changes.dump(few)) == few
    under_way = rollout(start, names[5])
    grown = replace(at_share(start, under_way, 100), groups=groups)
    assert changes.rolled_back(grown, under_way, **BY).withdrawn == {names[5]: "ro_1"}


def test_a_rollback_takes_the_version_out_of_everything() -> None:
    """Groups keep their other versions' proportions, or go; pins, shadow and experiments go; the rest stays."""
    start = replace(
        routing(v1=8_000, v2=1_000, v3=1_000),
        groups=(
            Group("beta", {"v1": 2_000, "v2": 2_000, "v3": 6_000}, ("acme",)),
            Group("gold", {"v3": WEIGHT_SUM}, by_header=True),
        ),
        pins={"acme": "v3", "globex": "v2"},
        experiments=(
            experiment("a"),
            Experiment("ex_c", "c", {"control": "v1", "b": "v3"}, {"control": 5_000, "b": 5_000}),
        ),
    )
    under_way = rollout(start, "v3")
    back = changes.rolled_back(at_share(start, under_way, 2_500, shadow=500), under_way, **BY)
    assert back.weights == {"v1": 8_889, "v2": 1_111, "v3": 0}
    assert back.groups == (Group("beta", {"v1": 5_000, "v2": 5_000, "v3": 0}, ("acme",)),)
    assert back.pins == {"globex": "v2"}
    assert back.shadow is None
    assert [each.name for each in back.experiments] == ["a"]
    for change in (
        lambda: changes.reweighted(back, {"v1": 9_999, "v3": 1}, **BY),
        lambda: changes.pinned(back, "acme", "v3", **BY),
        lambda: changes.restored(back, start, **BY),
    ):
        with pytest.raises(InvalidRequest, match="rolled back by ro_1"):
            change()


def test_restoring_gives_every_caller_its_version_back() -> None:
    """After any change of weights, the earlier document's slots are in force again, exactly."""
    first = routing(v1=5_000, v2=3_000, v3=2_000)
    document = changes.reweighted(first, {"v4": WEIGHT_SUM}, **BY)
    document = changes.reweighted(document, {"v1": 3_333, "v2": 3_333, "v3": 3_334}, **BY)
    back = changes.restored(document, first, **BY)
    assert (back.version, back.slots) == (document.version + 1, first.slots)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"weights": {"v1": 9_000}}, "add 10 % (1000) to come to 100 % (10000)"),
        ({"weights": {"v1": 9_000, "v2": 1_250}}, "take away 2.5 % (250)"),
        ({"weights": {"v1": 90, "v2": 10}}, "write {v1: 90%, v2: 10%}"),
        ({"weights": {}}, "1 to 100 versions"),
        ({"weights": {"v1": WEIGHT_SUM, "V 2": 0}}, "name a version with"),
        ({"weights": {"v9": WEIGHT_SUM}}, "detect hosts no version v9; it hosts v1, v2, v3, v4"),
        ({"pins": {"acme": "v9"}}, "pins.acme: detect hosts no version v9"),
        ({"pins": {"Acme!": "v1"}}, "write tenants as their keys have them"),
        ({"groups": (Group("beta", {"v1": WEIGHT_SUM}),)}, "groups.beta: nobody can be in it"),
        ({"groups": (Group("beta", {"v1": 1}, by_header=True),)}, "groups.beta.weights: they add up to 0.01 %"),
        (
            {"groups": tuple(Group(name, {"v1": WEIGHT_SUM}, ("acme",)) for name in ("a", "b"))},
            "acme is in two groups",
        ),
        ({"sticky": Sticky("request", ("x-user",))}, "each request is drawn anew"),
        ({"sticky": Sticky("caller", ("X-User",))}, "lower case"),
        ({"sticky": Sticky("caller", ("authorization",))}, "authorization is a credential"),
        ({"shadow": Shadow("v2", 0)}, "leave shadow out"),
        ({"shadow": Shadow("v9", 1)}, "shadow.version: detect hosts no version v9"),
        ({"canary": Canary("ro_1", "v2", 1, 100)}, "it must be the weight of the canary"),
        ({"experiments": (experiment(arms={"a": "v1", "b": "v2"}),)}, "declare control"),
        ({"experiments": (experiment(weights={"control": WEIGHT_SUM}),)}, "give one weight to each arm"),
        ({"experiments": (experiment(), experiment())}, "stands there twice"),
        ({"experiments": (experiment(share=0),)}, "take more than nobody"),
        ({"endpoint": "other"}, "this is for other, not for detect"),
        ({"slots": {EVERYONE: (("v1", 9), ("v2", 9_991))}}, "slots: they do not say what the weights say"),
        ({"why": "x" * 501}, "at most 500 characters"),
        ({"withdrawn": {"v1": "ro_9"}}, "it was rolled back by ro_9"),
    ],
)
def test_a_problem_says_how_to_mend_it(change: dict[str, Any], says: str) -> None:
    """Every problem begins with its field and says what to do."""
    found = check(replace(routing(), **change), endpoint())
    assert [problem for problem in found if says in problem], found


def test_what_is_right_has_no_problems() -> None:
    """A document with every part in order passes; a version that is gone may keep the weight 0."""
    document = replace(
        routing(v1=WEIGHT_SUM),
        weights={"v1": WEIGHT_SUM, "gone": 0},
        groups=(Group("beta", {"v2": WEIGHT_SUM, "gone": 0}, ("acme",)),),
        experiments=(experiment(),),
        shadow=Shadow("v4", 1),
        sticky=Sticky("caller", ("x-conversation", "x-user")),
    )
    assert check(document, endpoint()) == []


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("nonsense", None),
        ("[]", None),
        ('{"api": "headrace/routing/v1", "api": "headrace/routing/v1"}', None),
        ('{"api": "headrace/routing/v2"}', "api"),
        ('{"api": "headrace/routing/v1"}', None),
        ('{"endpoint": "d", "weights": {"v1": 10000}, "more": 1}', "more"),
        ('{"endpoint": "d", "weights": {"v1": 10000.0}}', "weights.v1"),
        ('{"endpoint": "d", "weights": {"v1": true}}', "weights.v1"),
        ('{"endpoint": "d", "weights": {"v1": 9999}}', "weights"),
        ('{"endpoint": "d", "weights": {"v1": 10000}, "sticky": {"by": "chance"}}', "sticky.by"),
        ('{"endpoint": "d", "weights": {"v1": 10000}, "groups": [{"name": "a"}]}', "groups[0]"),
        ('{"endpoint": "d", "weights": {"v1": 10000}, "shadow": {"version": "v1", "share": -1}}', "shadow.share"),
        ('{"endpoint": "d", "weights": {"v1": 10000}, "slots": {"": [["v1"]]}}', "slots.[0]"),
        ('{"endpoint": "d", "weights": {"v1": 10000}, "at": 1e999}', None),
    ],
)
def test_what_is_kept_is_read_strictly(text: str, field: str | None) -> None:
    """Duplicate keys, unknown fields, wrong types and wrong sums are refused, with the field where there is one."""
    if text.startswith('{"endpoint"'):
        text = text.replace("{", '{"api": "headrace/routing/v1", ', 1)
    with pytest.raises(InvalidRequest) as refused:
        parse(text)
    assert refused.value.field == field


@given(document=DOCUMENTS)
def test_what_is_written_is_read(document: Routing) -> None:
    """A document in order is the same after writing and reading; one that is not is refused."""
    if problems(document):
        with pytest.raises(InvalidRequest):
            parse(dump(document))
    else:
        assert parse(dump(document)) == document


@pytest.mark.parametrize("copied", [0, 500])
@pytest.mark.parametrize("own", ["v2", "v3"])
@pytest.mark.parametrize("end", ["rolled_back", "aborted", "finished"])
def test_what_a_person_had_copied_is_copied_again_afterwards(copied: int, own: str, end: str) -> None:
    """Whatever the rollout copied meanwhile; but not to a version that was withdrawn, or has all traffic."""
    before = replace(routing(), shadow=Shadow(own, 200))
    under_way = rollout(before, "v2")
    during = at_share(before, under_way, 1_000, shadow=copied)
    assert during.shadow == (Shadow("v2", copied) if copied else before.shadow)
    during = at_share(during, under_way, 2_500, stage=2, shadow=copied)
    after = getattr(changes, end)(during, under_way, **BY)
    lost = own == "v2" and end != "aborted"
    assert after.shadow == (None if lost else before.shadow)


def test_an_abort_of_another_try_leaves_the_version_withdrawn() -> None:
    """Nothing has shown that it is better than when it was rolled back."""
    first = rollout(routing(), "v2")
    back = changes.rolled_back(at_share(routing(), first, 1_000), first, **BY)
    again = replace(rollout(back, "v2", number=2), withdrawn_by=back.withdrawn["v2"])
    during = changes.pinned(at_share(changes.without_withdrawn(back, "v2"), again, 1_000), "acme", "v2", **BY)
    after = changes.aborted(during, again, **BY)
    assert (dict(after.withdrawn), dict(after.pins)) == ({"v2": "ro_1"}, {})
    assert after.weights["v2"] == 0
