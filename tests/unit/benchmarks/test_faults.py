"""What the fault benchmark makes of what it saw."""

import json
from collections import Counter

import pytest

from benchmarks.faults import FULL, QUICK, Outcome
from benchmarks.faults_cases import CASES, Case, chosen
from benchmarks.faults_figures import (
    CACHE,
    DEGRADED,
    HIT,
    SERVED_BY,
    distance,
    figures,
    judge,
    recovered_after_s,
    scores_of,
)
from benchmarks.faults_load import PINNED, REPEATED, shots
from benchmarks.faults_report import sum_up
from benchmarks.load.shots import Seen, Shot
from benchmarks.report import Report, markdown
from infra_local.faults import DYNAMODB, parse_fault

PRIMARY = "sentiment/v1"
REFERENCE = {"negative": 0.1, "neutral": 0.2, "positive": 0.7}
OTHER = {"negative": 0.2, "neutral": 0.2, "positive": 0.6}


def seen(
    *,
    at_s: float = 0.0,
    status: int = 200,
    seconds: float = 0.1,
    served_by: str = PRIMARY,
    degraded: str = "",
    cache: str = "headrace; fwd=miss",
    scores: dict[str, float] = REFERENCE,
) -> Seen:
    """One request."""
    headers = {SERVED_BY: served_by, CACHE: cache, **({DEGRADED: degraded} if degraded else {})}
    return Seen(Shot(at_s), 0.0, seconds, status, headers, json.dumps({"results": [{"scores": scores}]}))


def verdict(each: Seen) -> tuple[bool, str, str, bool]:
    """In time, by whom, why, wrong."""
    found = judge(each, primary=PRIMARY, reference=REFERENCE, deadline_s=2.0)
    return found.in_time, found.by, found.reason, found.wrong


def test_an_answer_of_the_primary_is_compared_and_right() -> None:
    """From the endpoint or from the cache; digits beyond the tolerance do not matter."""
    close = {label: score + 5e-4 for label, score in REFERENCE.items()}
    assert verdict(seen(scores=close)) == (True, "primary", "", False)
    assert verdict(seen(cache=HIT)) == (True, "hit", "", False)


@pytest.mark.parametrize(
    "each",
    [
        seen(scores=OTHER),
        seen(scores=OTHER, cache=HIT),
        seen(scores={"good": 1.0}),
        seen(served_by="sentiment/cpu"),
        seen(served_by=""),
        seen(degraded="timeout", served_by=""),
        seen(degraded="timeout", served_by=PRIMARY),
        Seen(Shot(0.0), 0.0, 0.1, 200, {SERVED_BY: PRIMARY}, "<html>"),
    ],
)
def test_whatever_passes_itself_off_as_another_is_wrong(each: Seen) -> None:
    """Other scores without a mark, another target without a mark, a mark that does not say who."""
    assert verdict(each)[3]


def test_a_marked_answer_is_its_rungs_and_not_compared() -> None:
    """The CPU model may judge otherwise: it says that it is not the primary."""
    marked = seen(scores=OTHER, served_by="sentiment/cpu", degraded="timeout")
    assert verdict(marked) == (True, "cpu", "timeout", False)


def test_late_answers_and_refusals_are_not_in_time() -> None:
    """Only a 200 within the deadline counts."""
    assert verdict(seen(seconds=2.01))[0] is False
    assert verdict(seen(status=503))[:2] == (False, "503")
    assert verdict(seen(status=0))[:2] == (False, "no answer in time")


def test_scores_are_read_and_measured() -> None:
    """The largest difference counts; other labels are as far as can be."""
    assert scores_of(seen().body) == REFERENCE
    assert distance(REFERENCE, OTHER) == pytest.approx(0.1)
    assert distance(REFERENCE, {}) == 1.0


@pytest.mark.parametrize("body", ["", "[]", '{"results": []}', '{"results": [{"scores": 3}]}'])
def test_what_holds_no_scores_is_refused(body: str) -> None:
    """Whatever came with status 200, it is not taken for scores."""
    with pytest.raises(ValueError, match=r"no scores|Expecting|not enough values"):
        scores_of(body)


def test_figures_sum_up_a_stretch() -> None:
    """Shares are of all requests, latencies of those that were answered."""
    several = [seen(), seen(cache=HIT), seen(degraded="fault", served_by="sentiment/cpu"), seen(status=503, seconds=3)]
    judged = [judge(each, primary=PRIMARY, reference=REFERENCE, deadline_s=2.0) for each in several]
    found = figures(several, judged)
    assert (found.requests, found.in_time, found.degraded, found.wrong) == (4, 0.75, 0.25, 0)
    assert found.by == dict.fromkeys(("primary", "hit", "cpu", "503"), 0.25)
    assert found.worst_ms == pytest.approx(100)
    with pytest.raises(ValueError, match="nothing was sent"):
        figures([], [])


def test_recovery_is_from_when_the_primary_serves_nearly_all() -> None:
    """The first whole second after which 99 of 100 are the primary's own; hits count as its own."""
    several = [
        seen(at_s=10.5, degraded="circuit_open", served_by="sentiment/cpu"),
        *(seen(at_s=11 + index / 100, cache=HIT if index % 2 else "") for index in range(300)),
    ]
    judged = [judge(each, primary=PRIMARY, reference=REFERENCE, deadline_s=2.0) for each in several]
    assert recovered_after_s(several, judged, from_s=10, end_s=14) == 1
    assert recovered_after_s(several[:1], judged[:1], from_s=10, end_s=11) is None


def test_every_case_is_a_fault_that_the_platform_knows() -> None:
    """Names are unique, and what the issue lists is there."""
    places = {"sentiment": ["v1"], DYNAMODB: ["state", "keys"]}
    kinds = {parse_fault(dict(case.fault), endpoints=places, now=0.0).kind for case in CASES}
    assert {"death", "hang", "latency", "throttle", "5xx", "unavailable", "garbage", "wrong_shape", "corrupt"} <= kinds
    assert len({case.name for case in CASES}) == len(CASES)
    assert len(QUICK.cases) == 3
    with pytest.raises(ValueError, match="no such case"):
        chosen(("none",))


def test_a_case_strikes_once_or_again_and_again() -> None:
    """Never after its end."""
    assert Case("once").strikes_s(12) == [0.0]
    assert Case("again", every_s=5).strikes_s(12) == [0.0, 5.0]


def test_the_load_mixes_repeats_and_texts_that_come_once() -> None:
    """A thousand requests a case: texts outside the repeated ones come once, some callers insist on the version."""
    seconds = 36.0
    found = shots(1000 / seconds, seconds=seconds, count=FULL.texts, seed=1)
    assert found == shots(1000 / seconds, seconds=seconds, count=FULL.texts, seed=1)
    often = Counter(shot.body for shot in found)
    assert all(count == 1 for body, count in often.items() if body >= REPEATED)
    assert 0.2 < sum(shot.body < REPEATED for shot in found) / len(found) < 0.4
    assert 0.05 < sum(shot.headers == PINNED for shot in found) / len(found) < 0.25


def test_one_wrong_answer_misses_the_target() -> None:
    """Targets are judged by the worst case, and every case has its row."""
    judged = [
        judge(each, primary=PRIMARY, reference=REFERENCE, deadline_s=2.0) for each in (seen(), seen(scores=OTHER))
    ]
    found = figures([seen(), seen(scores=OTHER)], judged)
    report = Report("faults", "Faults", {})
    sum_up(report, [Outcome("hung", found, found, found, recovered_s=None)], primary=PRIMARY)
    assert [target.met for target in report.targets] == [True, True, False]
    assert markdown(report).count("| hung |") == 3
