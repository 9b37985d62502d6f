"""What `endpoint.yaml` says of policy, and `plans.yaml`: the good compiles, a contradiction has its line."""

from pathlib import Path

import pytest

from headrace import catalog as catalogs
from headrace.catalog import BatchRules, CacheRules, Capabilities, Catalog, Rung
from headrace.declaration.compile import compile_catalog
from headrace.declaration.files import read_declarations, read_plans
from headrace.declaration.page import write_page
from headrace.declaration.parse import parse_declaration, parse_plans
from headrace.errors import InvalidDeclarations
from headrace.plans import Budget, Cost, Plan, Rate
from tests.unit.headrace.declarations import DETECTION, PLANS, SENTIMENT

WHOLE = (
    DETECTION.replace(
        "weight: 90}", "weight: 90, serves: {languages: [en, de], tenants: [acme], plans: [premium], tier_min: 5}}"
    )
    .replace("weight: 10}", "weight: 10, serves: {cost_class: 3, groups: [b], max_items: 1}, cost: {unit: tokens}}")
    .replace(
        "fallback:\n",
        """\
cost: {unit: gpu_ms, per_request: 1, per_item: 2, per_second: 1000}
cache: {fresh_s: 60, stale_s: 600, shared: true, entry_bytes_max: 1024}
hedge: true
fallback:
  - {kind: stale}
  - {kind: variant, version: v1, timeout_ms: 700}
""",
    )
    + """\
batch: {transform_records_min: 5000, transform_instance_type: ml.c7i.xlarge, transform_instances: 3}
"""
)
"""Every field of policy once. Line 7 is v1, 8 is v2, 15 the cost, 16 the cache, 19 to 21 the ladder, then batches."""


def plans() -> dict[str, Plan]:
    """Three plans, of tiers 0, 5 and 9."""
    found, problems = parse_plans(PLANS, source="plans.yaml")
    assert found is not None, problems
    return found


def compiled(text: str) -> Catalog:
    """The catalog of one endpoint."""
    declaration, problems = parse_declaration(text, source="endpoint.yaml", plans=plans())
    assert declaration is not None, problems
    return compile_catalog([declaration], plans())


def problems_of(text: str) -> list[str]:
    """What is wrong with a declaration, held against the plans."""
    return parse_declaration(text, source="endpoint.yaml", plans=plans())[1]


def test_every_field_of_policy_reaches_the_catalog() -> None:
    """What is declared is what the functions read, and what is left out follows from the endpoint."""
    endpoint = compiled(WHOLE).endpoint("detection")
    v1, v2, lite = endpoint.versions
    assert v1.capabilities == Capabilities(
        hardware="gpu",
        cost_class=1,
        languages=("en", "de"),
        max_items=1,
        max_payload_bytes=4_194_304,
        tenants=("acme",),
        plans=("premium",),
        tier_min=5,
    )
    assert (v2.capabilities.cost_class, v2.capabilities.groups, v2.cost) == (3, ("b",), Cost("tokens"))
    assert (lite.capabilities.hardware, lite.capabilities.cost_class, lite.cost) == ("cpu", 0, None)
    assert endpoint.cost == Cost("gpu_ms", per_request=1, per_item=2, per_s=1000)
    assert endpoint.cache == CacheRules(60, 600, shared=True, entry_bytes_max=1024)
    assert endpoint.hedge
    assert endpoint.batch == BatchRules(5000, "ml.c7i.xlarge", 3, 1)
    assert endpoint.ladder == (
        Rung("stale", 100),
        Rung("variant", 700, "v1"),
        Rung("cpu", 1500, "lite"),
    )


def test_what_says_nothing_of_policy_is_safe() -> None:
    """An endpoint of the first release costs nothing, keeps nothing, hedges nothing and serves everyone."""
    endpoint = compiled(SENTIMENT).endpoint("sentiment")
    assert (endpoint.cost, endpoint.cache, endpoint.hedge) == (None, None, False)
    assert endpoint.batch == BatchRules(None, "ml.g5.xlarge", 1, 4)
    assert endpoint.versions[0].capabilities == Capabilities(
        max_items=4, max_text_chars=50, max_payload_bytes=4_194_304
    )


@pytest.mark.parametrize("text", [WHOLE, SENTIMENT])
def test_the_catalog_survives_its_own_json(text: str) -> None:
    """What the functions load is what was compiled, plans and all."""
    catalog = compiled(text)
    assert catalogs.load(catalogs.dump(catalog)) == catalog
    assert catalogs.dump(catalogs.load(catalogs.dump(catalog))) == catalogs.dump(catalog)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "cache: {fresh_s: 60, stale_s: 600, shared: true, entry_bytes_max: 1024}\n",
            "",
            "18: fallback[0]: needs cache",
        ),
        ("stale_s: 600", "stale_s: 59", "16: cache: stale_s must be at least fresh_s"),
        ("stale_s: 600", "stale_s: 60", "19: fallback[0]: needs cache.stale_s above cache.fresh_s"),
        ("fresh_s: 60", "fresh_s: 0", "16: cache.fresh_s"),
        ("entry_bytes_max: 1024", "entry_bytes_max: 400000", "16: cache.entry_bytes_max"),
        ("version: v1, timeout", "version: v9, timeout", "20: fallback[1].version: must name one of versions that is"),
        (
            "version: v1, timeout",
            "version: lite, timeout",
            "20: fallback[1].version: must name one of versions that is",
        ),
        ("{kind: variant, version: v1, timeout_ms: 700}", "{kind: stale}", "20: fallback[1]: each kind of rung may"),
        ("{kind: stale}", "{kind: variant, version: v1}", "20: fallback[1]: each kind of rung may"),
        ("{kind: stale}", "{kind: stale, version: v1}", "19: fallback[0].stale.version"),
        ("tenants: [acme]", "tenants: [Acme!]", "7: versions.v1.serves.tenants[0]: must match"),
        ("languages: [en, de]", "languages: [en-GB]", "7: versions.v1.serves.languages[0]: must match"),
        ("groups: [b]", "groups: ['']", "8: versions.v2.serves.groups[0]: must match"),
        ("plans: [premium]", "plans: [gold]", "7: versions.v1.serves.plans[0]: must be one of free, premium, standard"),
        ("plans: [premium]", "plans: [free]", "7: versions.v1.serves.plans[0]: free has tier 0, below tier_min"),
        (
            "max_items: 1}, cost",
            "max_items: 2}, cost",
            "8: versions.v2.serves.max_items: cannot exceed limits.max_items",
        ),
        ("cost_class: 3", "max_text_chars: 3", "cannot exceed limits.max_text_chars, which is not declared"),
        ("cost_class: 3", "hardware: cpu", "8: versions.v2.serves.hardware: this version runs on gpu"),
        ("cost_class: 3", "cost_class: 10", "8: versions.v2.serves.cost_class"),
        ("unit: gpu_ms", "unit: goats", "15: cost.unit"),
        ("per_item: 2", "per_item: -2", "15: cost.per_item"),
        ("per_item: 2", "per_item: 2.5", "15: cost.per_item"),
        ("hedge: true", "hedge: 'yes'", "17: hedge"),
        ("transform_instances: 3", "transform_instances: 0", "batch.transform_instances"),
        ("transform_instances: 3", "items_per_request_max: 2", "batch.items_per_request_max: cannot exceed limits."),
        ("ml.c7i.xlarge", "c7i.xlarge", "batch.transform_instance_type: must match"),
    ],
)
def test_says_what_to_do(old: str, new: str, expected: str) -> None:
    """Each contradiction is named with its line, its path and what to do."""
    assert old in WHOLE
    problems = problems_of(WHOLE.replace(old, new))
    assert any(expected in problem for problem in problems), problems


def test_a_variant_of_the_only_version_stands_in_for_none() -> None:
    """The rung would be passed over every time, so it is a mistake."""
    text = SENTIMENT.replace("{kind: rules}", "{kind: variant, version: v1}")
    assert any("is the only version on the endpoint" in problem for problem in problems_of(text))


def test_a_tier_above_every_plan_serves_nobody() -> None:
    """A version that no plan reaches is a mistake; without plans to hold it against it is not known."""
    text = WHOLE.replace("groups: [b]", "tier_min: 9")
    assert problems_of(text) == []
    _, found = parse_plans(PLANS.replace("tier: 9", "tier: 8"), source="plans.yaml")
    assert found == []
    lower = {name: plan for name, plan in plans().items() if plan.tier < 9} | {
        "premium": Plan("premium", 8, 1, Rate(1, 1))
    }
    _, problems = parse_declaration(text, source="endpoint.yaml", plans=lower)
    assert problems == [
        "endpoint.yaml:8: versions.v2.serves.tier_min: is above the tier of every plan: nobody would be served"
    ]
    assert parse_declaration(text, source="endpoint.yaml")[1] == []


# -- plans ------------------------------------------------------------------------------------------------------------


def test_plans_compile() -> None:
    """A plan's rate, burst, concurrency and budgets are what admission reads; an hour is 3,600 s."""
    found = plans()
    assert list(found) == ["free", "premium", "standard"]
    assert found["free"] == Plan("free", 0, 2, Rate(1, 5), (Budget("gpu_ms", 1000, 3600),))
    assert found["standard"].budgets == ()
    assert Catalog({}, found).tiers == tuple(sorted({plan.tier for plan in found.values()}))
    assert Catalog({}).tiers == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("headrace/v1", "headrace/v2", "plans.yaml:1: api"),
        ("tier: 0", "tier: 10", "plans.yaml:4: plans.free.tier"),
        ("tier: 0", "tier: high", "plans.yaml:4: plans.free.tier"),
        ("concurrency: 2", "concurrency: 0", "plans.yaml:5: plans.free.concurrency"),
        ("per_second: 1,", "per_second: .inf,", "plans.yaml:6: plans.free.rate.per_second"),
        ("per_second: 1,", "per_second: 0,", "plans.yaml:6: plans.free.rate.per_second"),
        ("burst: 5", "bursts: 5", "plans.yaml:6: plans.free.rate.bursts: is not a field"),
        ("per: hour", "per: week", "plans.yaml:7: plans.free.budgets[0].per"),
        ("amount: 1000", "amount: 0", "plans.yaml:7: plans.free.budgets[0].amount"),
        (
            "per: hour}",
            "per: hour}, {unit: gpu_ms, amount: 1, per: day}",
            "budgets[1].unit: gpu_ms has a budget already",
        ),
        ("  free:", "  Free!:", "plans.yaml:3: plans.Free!"),
        ("  standard:", "  free:", "declared twice"),
    ],
)
def test_a_bad_plan_says_what_to_do(old: str, new: str, expected: str) -> None:
    """Each mistake in `plans.yaml` is named with its line and path."""
    assert old in PLANS
    found, problems = parse_plans(PLANS.replace(old, new, 1), source="plans.yaml")
    assert found is None
    assert any(expected in problem for problem in problems), problems


@pytest.mark.parametrize("text", ["", "[]", "plans: {}", "api: headrace/v1\nplans: {}", "a: &x [*x]", "\x00"])
def test_plans_survive_anything(text: str) -> None:
    """What holds no plan is a problem with a line, never an exception."""
    found, problems = parse_plans(text, source="plans.yaml")
    assert found is None
    assert all(problem.startswith("plans.yaml:") for problem in problems)


def test_missing_plans_say_what_to_write(tmp_path: Path) -> None:
    """Without `plans.yaml` nobody could be admitted: the error holds an example that is itself good."""
    with pytest.raises(InvalidDeclarations, match=r"plans\.yaml:1: no such file: write") as refusal:
        read_plans(tmp_path)
    example = str(refusal.value).split("`")[3]
    assert parse_plans(f"api: headrace/v1\n{example}\n", source="plans.yaml")[1] == []


def test_endpoints_are_held_against_the_plans_beside_them(tmp_path: Path) -> None:
    """A plan that a version names and nobody declared is found when the folder is read."""
    (tmp_path / "detection").mkdir()
    (tmp_path / "detection" / "endpoint.yaml").write_text(WHOLE, encoding="utf-8")
    (tmp_path / "plans.yaml").write_text(PLANS.replace("premium", "gold"), encoding="utf-8")
    with pytest.raises(
        InvalidDeclarations, match=r"endpoint\.yaml:7: versions\.v1\.serves\.plans\[0\]: must be one of"
    ):
        read_declarations(tmp_path)


def test_the_page_tells_policy() -> None:
    """The page names what each version serves and costs, what is kept, and every plan from the highest tier down."""
    declaration, _ = parse_declaration(WHOLE, source="endpoint.yaml")
    assert declaration is not None
    page = write_page([declaration], plans())
    assert "primary → `stale` (100 ms) → `variant` `v1` (700 ms) → `cpu` (1500 ms) → 503" in page
    assert "| costs | 1 gpu_ms per request and 2 gpu_ms per item and 1000 gpu_ms per second; `v2`: 0 tokens |" in page
    assert "`v1`: `languages` en, de; `tenants` acme; `plans` premium; `tier_min` 5" in page
    assert "| cache | fresh for 60 s, stale until 600 s, at most 1024 bytes, in each function and the table |" in page
    assert page.index("| `premium` | 9 |") < page.index("| `standard` | 5 |") < page.index("| `free` | 0 |")
    assert "1000 gpu_ms per hour" in page
