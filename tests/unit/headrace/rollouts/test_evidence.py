"""Evidence against a version: fair while it is no worse, by exact enumeration, and strong when it is."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.rollouts.evidence import (
    ODDS,
    ODDS_WEIGHTS,
    SHARE_UNIT,
    Bad,
    beginnings,
    log_evidence,
    log_evidence_since,
    log_mean_exp,
    log_rate_evidence,
    log_split,
)

SHARES = st.integers(1, SHARE_UNIT - 1)
ODDS_ALLOWED = st.sampled_from([1.0, 1.25, 2.0])


def tallies(shares: Sequence[int], sides: Sequence[bool]) -> list[Bad]:
    """One row for each event: which share was in force, and whether it was the canary's."""
    return [Bad(share, int(side), int(not side)) for share, side in zip(shares, sides, strict=True)]


def probability(shares: Sequence[int], sides: Sequence[bool], odds: float) -> float:
    """Of this attribution of events, if the canary is so many times as bad."""
    product = 1.0
    for share, side in zip(shares, sides, strict=True):
        w = share / SHARE_UNIT
        mine = odds * w / (odds * w + 1.0 - w)
        product *= mine if side else 1.0 - mine
    return product


@given(st.lists(SHARES, min_size=1, max_size=5), ODDS_ALLOWED)
def test_in_expectation_it_is_one_at_the_edge_of_what_is_allowed(shares: list[int], allowed: float) -> None:
    """Over all attributions of the events, whatever share was in force at each: the definition of a fair game."""
    for first in range(len(shares)):
        expected = sum(
            probability(shares, sides, allowed)
            * math.exp(log_evidence_since(tallies(shares, sides), odds_allowed=allowed)[first])
            for sides in itertools.product([False, True], repeat=len(shares))
        )
        assert expected == pytest.approx(1.0, abs=1e-9)


@given(st.lists(SHARES, min_size=1, max_size=5), ODDS_ALLOWED, st.floats(0.0, 1.0))
def test_in_expectation_it_is_at_most_one_for_a_better_canary(shares: list[int], allowed: float, part: float) -> None:
    """A version that does better than it must gives no evidence against itself on average."""
    expected = sum(
        probability(shares, sides, allowed * part)
        * math.exp(log_evidence(tallies(shares, sides), odds_allowed=allowed))
        for sides in itertools.product([False, True], repeat=len(shares))
    )
    assert expected <= 1.0 + 1e-9


@pytest.mark.parametrize("share", [100, 500, 2_500, 5_000])
@pytest.mark.parametrize("alpha", [0.01, 0.1])
def test_looking_after_every_event_stops_a_good_version_at_most_that_often(share: int, alpha: float) -> None:
    """All 2^14 attributions of fourteen bad events: the probability that evidence is ever enough is at most alpha."""
    stopped = 0.0
    alive: dict[int, float] = {0: 1.0}
    w = share / SHARE_UNIT
    for event in range(1, 15):
        after: dict[int, float] = {}
        for mine, chance in alive.items():
            for more, side in ((1, w), (0, 1.0 - w)):
                count = mine + more
                if log_evidence([Bad(share, count, event - count)]) >= -math.log(alpha):
                    stopped += chance * side
                else:
                    after[count] = after.get(count, 0.0) + chance * side
        alive = after
    assert 0.0 < stopped <= alpha
    assert stopped + sum(alive.values()) == pytest.approx(1.0)


def moved(rule: str) -> float:
    """What is expected of the evidence with callers who fail in every stage, at 20 % and at 60 %, each stage once.

    A caller has the canary in both stages (1 of 5), from the second on (2 of 5), or in neither (2 of 5).
    """
    shares, callers, expected = (2_000, 6_000), 4, 0.0
    kinds = ((Fraction(1, 5), (True, True)), (Fraction(2, 5), (False, True)), (Fraction(2, 5), (False, False)))
    for crowd in itertools.product(kinds, repeat=callers):
        chance = math.prod(float(weight) for weight, _ in crowd)
        rows = []
        for stage, share in enumerate(shares):
            counted = [arms for _, arms in crowd if rule == "anew in every stage" or not any(arms[:stage])]
            mine = sum(arms[stage] for arms in counted)
            rows.append(Bad(share, mine, len(counted) - mine))
        expected += chance * math.exp(log_evidence(rows))
    return expected


def test_a_caller_of_the_canary_is_not_counted_again_in_the_next_stage() -> None:
    """Callers stay with the canary: counted anew in each stage, those who always fail would be held against it."""
    assert moved("the canary's once") <= 1.0
    assert moved("anew in every stage") > 1.5


@given(st.lists(st.tuples(SHARES, st.integers(0, 50), st.integers(0, 500)), min_size=1, max_size=6), ODDS_ALLOWED)
def test_only_the_counts_by_share_matter(rows: list[tuple[int, int, int]], allowed: float) -> None:
    """Processes may count apart and in any order: rows split and shuffled are the same evidence."""
    whole = [Bad(*row) for row in rows]
    parts = [Bad(share, mine, 0) for share, mine, _ in rows] + [Bad(share, 0, other) for share, _, other in rows[::-1]]
    assert log_evidence(parts, odds_allowed=allowed) == pytest.approx(log_evidence(whole, odds_allowed=allowed))


@given(SHARES, st.integers(0, 1_000), st.integers(0, 1_000))
def test_more_of_the_canarys_is_more_evidence(share: int, canary: int, control: int) -> None:
    """One more of the canary's never lowers it, one more of the control's never raises it."""
    now = log_evidence([Bad(share, canary, control)])
    assert log_evidence([Bad(share, canary + 1, control)]) >= now
    assert log_evidence([Bad(share, canary, control + 1)]) <= now


def test_nothing_to_compare_is_no_evidence() -> None:
    """No events, no traffic of the canary, or nothing but it."""
    assert log_evidence([]) == 0.0
    assert log_evidence([Bad(0, 0, 1_000), Bad(SHARE_UNIT, 1_000, 0), Bad(500, 0, 0)]) == pytest.approx(0.0)
    assert log_evidence_since([]) == []


def test_a_later_beginning_forgets_what_was_good_before() -> None:
    """A thousand bad events of the control at 1 % do not hide three of the canary's at 25 %."""
    rows = [Bad(100, 0, 1_000), Bad(2_500, 12, 3)]
    assert log_evidence_since(rows)[1] == log_evidence(rows[1:])
    assert log_evidence(rows) < 0.0 < log_evidence_since(rows)[1]


@pytest.mark.parametrize("count", [10**6, 10**9, 10**12])
def test_huge_counts_stay_finite(count: int) -> None:
    """Alike arms of any size give none; a canary twice as bad gives more than anything."""
    assert log_evidence([Bad(5_000, count, count)]) < 0.0
    assert math.isfinite(log_evidence([Bad(5_000, 2 * count, count)]))
    assert log_evidence([Bad(5_000, 2 * count, count)]) > 1e4
    assert math.isfinite(log_split({5_000: (count, count)}))
    assert math.isfinite(log_rate_evidence(count, count, rate_max=0.2))


def test_a_version_that_fails_everything_at_one_per_cent_is_seen_at_its_second_request() -> None:
    """Two bad requests of the canary and none of the control are enough for alpha = 1 %; one is not."""
    assert log_evidence([Bad(100, 1, 0)]) < math.log(100.0) <= log_evidence([Bad(100, 2, 0)])


def test_the_weights_are_a_whole() -> None:
    """Of the alternatives and of the beginnings; stages that were not planned have none."""
    assert len(ODDS) == len(ODDS_WEIGHTS)
    assert sum(ODDS_WEIGHTS) == pytest.approx(1.0)
    assert min(ODDS) > 1.0
    for planned in range(1, 12):
        assert sum(beginnings(planned)) == pytest.approx(1.0)
        assert len(beginnings(planned)) == planned
    assert beginnings(0) == ()


@given(st.floats(0.01, 0.9), st.integers(1, 9))
def test_a_rate_is_a_fair_game_as_well(rate_max: float, events: int) -> None:
    """Over all outcomes of some comparisons, at the rate that is put up with."""
    expected = sum(
        math.comb(events, bad)
        * rate_max**bad
        * (1.0 - rate_max) ** (events - bad)
        * math.exp(log_rate_evidence(bad, events - bad, rate_max=rate_max))
        for bad in range(events + 1)
    )
    assert expected == pytest.approx(1.0)


def test_a_rate_of_one_allows_everything() -> None:
    """Whoever puts up with all disagreement is never warned of it."""
    assert log_rate_evidence(1_000, 0, rate_max=1.0) == 0.0
    assert log_rate_evidence(30, 30, rate_max=0.2) > math.log(100.0)


@given(SHARES, st.integers(1, 9))
def test_the_check_of_the_division_is_a_fair_game(share: int, callers: int) -> None:
    """Over all divisions of some callers by the declared share."""
    p = share / SHARE_UNIT
    expected = sum(
        math.comb(callers, mine)
        * p**mine
        * (1.0 - p) ** (callers - mine)
        * math.exp(log_split({share: (mine, callers - mine)}))
        for mine in range(callers + 1)
    )
    assert expected == pytest.approx(1.0)


def test_a_wrong_division_is_seen_and_the_right_one_is_not() -> None:
    """Ten per cent of the callers where five were declared, of two thousand."""
    assert log_split({500: (200, 1_800)}) > math.log(1_000.0) > log_split({500: (100, 1_900)})
    assert log_split({}) == log_split({0: (0, 10)}) == log_split({500: (0, 0)}) == 0.0


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5))
def test_means_of_exponentials_of_any_size(logs: list[float]) -> None:
    """Between the least and the largest, and no less than the largest divided by how many there are."""
    mean = log_mean_exp(logs)
    assert max(logs) - math.log(len(logs)) - 1e-6 <= mean <= max(logs) + 1e-6


def test_what_makes_no_sense_is_refused() -> None:
    """A canary that has to be better than the control, counts below nothing, rates beyond one."""
    with pytest.raises(ValueError, match="at least 1"):
        log_evidence([Bad(500, 1, 1)], odds_allowed=0.5)
    with pytest.raises(ValueError, match="below 0"):
        log_evidence([Bad(500, -1, 1)])
    for rate in (0.0, 1.5):
        with pytest.raises(ValueError, match="rate"):
            log_rate_evidence(1, 1, rate_max=rate)
