"""What the overload benchmark makes of what it saw."""

from pathlib import Path

import onnxruntime
import pytest
import yaml

from benchmarks import overload_endpoint
from benchmarks.load.endings import UNANSWERED
from benchmarks.load.shots import Seen, Shot
from benchmarks.overload import FULL, TIERS, Measured
from benchmarks.overload_endpoint import Tower, make_tower, tower
from benchmarks.overload_figures import due_in, served_again_after_s, settled_after_s, window
from benchmarks.overload_report import sum_up
from benchmarks.report import Report, markdown
from infra_local.plan import read_plan

REFUSAL = '{"error": "Too many requests for this model now.", "code": "overloaded"}'


def seen(at_s: float, *, seconds: float = 0.1, status: int = 200, caller: int = 0, body: str = "{}") -> Seen:
    """One request."""
    return Seen(Shot(at_s, 0, caller), 0.001, seconds, status, {}, body)


def test_goodput_counts_what_was_answered_within_the_objective() -> None:
    """A late answer is admitted, and its lateness shows, but it is no goodput."""
    found = window(
        [seen(0.0), seen(0.5), seen(1.0, seconds=0.9), seen(1.5, status=503, body=REFUSAL)],
        seconds=2,
        slo_s=0.5,
        caller=lambda _: "free",
    )
    assert (found.offered, found.goodput) == (2.0, 1.0)
    assert (found.p50_ms, found.p99_ms) == (100.0, 900.0)
    assert found.endings == {"503 overloaded": 0.25}
    assert found.served == {"free": 0.5}


def test_classes_of_callers_are_told_apart() -> None:
    """Each plan's share is of its own requests."""
    several = [seen(0.0), seen(0.1, status=503), seen(0.2, caller=1), seen(0.3, caller=1)]
    found = window(several, seconds=1, slo_s=0.5, caller=lambda each: ("free", "premium")[each.shot.headers])
    assert found.served == {"free": 0.5, "premium": 1.0}


def test_a_window_in_which_nobody_was_served_has_no_latency() -> None:
    """No figure is made up, and an empty window is an error."""
    found = window([seen(0.0, status=0, seconds=2)], seconds=1, slo_s=0.5, caller=lambda _: "")
    assert (found.goodput, found.p99_ms, found.endings) == (0.0, None, {UNANSWERED: 1.0})
    with pytest.raises(ValueError, match="nothing was sent"):
        window([], seconds=1, slo_s=0.5, caller=lambda _: "")


def test_the_transition_ends_where_the_objective_is_kept_from_then_on() -> None:
    """One good second does not end it when later ones are bad."""
    rows = [
        seen(10.5, seconds=0.9),
        seen(11.5, seconds=0.1),
        *(seen(12 + index / 10, seconds=0.9 if index % 2 else 0.1) for index in range(10)),
        *(seen(13 + index / 100, seconds=0.2) for index in range(300)),
    ]
    assert settled_after_s(rows, begin_s=10, end_s=16, slo_s=0.5) == 3
    assert settled_after_s(rows, begin_s=10, end_s=12.6, slo_s=0.05) is None
    assert due_in(rows, 11, 12.1) == rows[1:3]


def test_recovery_is_when_nearly_all_are_served_again() -> None:
    """Refusals at the beginning are passed over, one near the end is not."""
    rows = [seen(0.5, status=503), *(seen(1 + index / 50) for index in range(100))]
    assert served_again_after_s(rows, begin_s=0, end_s=3, share=0.99) == 1
    assert served_again_after_s([*rows, seen(2.9, status=503)], begin_s=0, end_s=3, share=1.0) is None


def test_the_endpoint_is_one_that_the_platform_runs(tmp_path: Path) -> None:
    """Declaration, plans and artifact agree, nothing stands in, and nothing is kept."""
    made = make_tower(tmp_path / "made", service_s=0.0001, slo_ms=600, deadline_ms=2000)
    (endpoint,) = read_plan(made.endpoints, made.artifacts).endpoints
    assert endpoint.declaration.fallback == []
    assert endpoint.declaration.cache is None
    assert not endpoint.declaration.hedge
    assert set(yaml.safe_load((made.endpoints / "plans.yaml").read_text())["plans"]) == set(TIERS)
    assert made.onnx.is_file()
    assert len(set(made.bodies)) == overload_endpoint.BODIES


def test_more_blocks_are_more_work_and_not_a_larger_file() -> None:
    """All blocks share their weights, and the answer is a finite row."""
    few, many = tower(1), tower(20)
    assert len(many) < 1.1 * len(few)
    session = onnxruntime.InferenceSession(many, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {"x": [[0.5] * overload_endpoint.FEATURES]})
    assert answer.shape == (1, overload_endpoint.CLASSES)
    assert abs(answer).max() < 100


def test_every_multiple_is_measured_on_both_sides() -> None:
    """The peer meets the same multiples, and the highest follows the plain one without a pause."""
    ours = [phase.multiple for phase in FULL.phases]
    assert ours[:2] == [1, 10]
    assert {phase.multiple for phase in FULL.peer} == {1, 2, 4, 10} <= set(ours)
    assert all(0 < phase.warm_in_s < phase.seconds for phase in (*FULL.phases, *FULL.peer))


def test_targets_are_judged_at_the_highest_multiple() -> None:
    """Goodput at ten times is held against the best of all, and a late p99 misses."""
    good = window([seen(index / 10) for index in range(10)], seconds=1, slo_s=0.5, caller=lambda _: "free")
    late = window(
        [seen(index / 10, seconds=0.2 if index < 8 else 0.8) for index in range(10)],
        seconds=1,
        slo_s=0.5,
        caller=lambda _: "free",
    )
    ours = Measured(8.0, {1: good, 10: late, 0.5: good}, {1: {"moto": 0.1}, 10: {"moto": 0.2}}, settled_s=4)
    report = Report("overload", "Overload", {})
    sum_up(report, ours=ours, peer=ours, tower=Tower(Path(), Path(), Path(), (), 9, 0.1), slo_ms=500, shares=TIERS)
    assert [(target.reached, target.met) for target in report.targets] == [
        ("0.80 (plain FastAPI 0.80)", False),
        ("100 ms", True),
        ("800 ms", False),
    ]
    assert "not within the phase" in markdown(report)
