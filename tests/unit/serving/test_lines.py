"""Who goes first: the order of tiers, who leaves a full queue, and who has waited too long."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from endpoints.serving.lines import AGED_EVERY_S, AGED_S, TIER_BACKGROUND, TIER_TOP, Lines


@dataclass
class Standing:
    """Somebody in a line."""

    tier: int
    rows_left: int = 1
    queued_at: float = 0.0


def stood(people: list[Standing]) -> Lines[Standing]:
    """All of them, in lines."""
    lines: Lines[Standing] = Lines()
    for one in people:
        lines.tiers[one.tier].append(one)
        lines.rows[one.tier] += one.rows_left
    return lines


PEOPLE = st.lists(st.builds(Standing, st.integers(0, TIER_TOP), st.integers(1, 9)), max_size=30)


@given(people=PEOPLE, tier=st.integers(0, TIER_TOP), rows=st.integers(0, 60))
def test_only_lower_tiers_leave_and_no_more_than_must(people: list[Standing], tier: int, rows: int) -> None:
    """Whoever leaves is of a lower tier, the lowest first and the latest of it; the rest stands as it stood."""
    lines = stood(people)
    out = lines.evicted(tier, rows)
    left = [one for line in lines.tiers for one in line]
    assert len(out) + len(left) == len(people)
    assert all(one.tier < tier for one in out)
    assert [one.tier for one in out] == sorted(one.tier for one in out)
    assert sum(one.rows_left for one in out[:-1]) < max(rows, 1)
    if sum(one.rows_left for one in out) < rows:
        assert all(one.tier >= tier for one in left)
    assert [id(one) for one in left] == [
        id(one) for one in sorted(people, key=lambda one: one.tier) if all(one is not gone for gone in out)
    ]


@given(people=PEOPLE, tier=st.integers(0, TIER_TOP))
def test_only_who_goes_before_counts(people: list[Standing], tier: int) -> None:
    """A job waits for its own tier and those above, never for rows of lower ones."""
    assert stood(people).rows_before(tier) == sum(one.rows_left for one in people if one.tier >= tier)


def test_who_waits_too_long_has_a_turn_now_and_then() -> None:
    """Nobody starves behind higher tiers, and those lose one turn a second at most."""
    lines = stood([Standing(TIER_BACKGROUND, queued_at=0.0), Standing(TIER_TOP, queued_at=AGED_S)])
    assert lines.aged(AGED_S - 0.1) is None
    assert lines.aged(AGED_S) == TIER_BACKGROUND
    lines.turn_taken(AGED_S)
    assert lines.aged(AGED_S + AGED_EVERY_S / 2) is None
    assert lines.aged(AGED_S + AGED_EVERY_S) == TIER_BACKGROUND


def test_alone_nobody_is_before_its_turn() -> None:
    """A line with no higher tier beside it needs no exception."""
    assert stood([Standing(3)]).aged(2 * AGED_S) is None
