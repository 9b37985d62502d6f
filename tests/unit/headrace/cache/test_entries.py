"""Kept answers as bytes, their bounds, and when they are fresh."""

import math
import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace import oip
from headrace.cache.entries import (
    ENTRY_OVERHEAD_BYTES,
    Entry,
    LocalEntries,
    is_fresh,
    is_usable,
    read,
    recomputes_early,
    write,
)
from headrace.catalog import CacheRules
from headrace.inference import InferenceResponse, Tensor

RULES = CacheRules(fresh_s=60, stale_s=300)

_elements: dict[str, st.SearchStrategy[Any]] = {
    "BYTES": st.text(st.characters(codec="utf-8")),
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "FP64": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-9, 9),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "BOOL": st.booleans(),
}


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """A tensor, by value or raw."""
    datatype = draw(st.sampled_from(sorted(_elements)))
    data = draw(st.lists(_elements[datatype], max_size=5))
    shape = draw(st.sampled_from([(len(data),), (1, len(data)), (len(data), 1)]))
    if datatype == "BYTES" and draw(st.booleans()):
        raw = oip.raw_bytes([text.encode() for text in data])
        return Tensor("t", datatype, shape, raw=raw, parameters={"binary_data_size": len(raw)})
    if datatype == "FP32" and draw(st.booleans()):
        raw = struct.pack(f"<{len(data)}f", *data)
        return Tensor("t", datatype, shape, raw=raw, parameters={"binary_data_size": len(raw)})
    return Tensor("t", datatype, shape, data=data, parameters=draw(st.sampled_from([{}, {"unit": "s"}])))


responses = st.builds(
    InferenceResponse,
    outputs=st.lists(tensors(), max_size=3).map(tuple),
    model_version=st.text(max_size=5),
    parameters=st.dictionaries(st.text(max_size=3), st.integers() | st.booleans() | st.text(max_size=3), max_size=2),
)


@given(responses)
def test_an_answer_comes_back_as_it_was(response: InferenceResponse) -> None:
    """Tensors by value and raw ones, the model's version and the parameters."""
    entry = write(response, kept_at=1.5, seconds=0.25)
    assert entry is not None
    assert repr(read(entry)) == repr(response)
    assert (entry.kept_at, entry.seconds) == (1.5, 0.25)


@pytest.mark.parametrize("value", [math.nan, math.inf, "\ud800", object()])
def test_what_cannot_be_written_is_no_entry(value: object) -> None:
    """Numbers that are not finite, half characters: nothing is kept and nothing fails."""
    response = InferenceResponse(outputs=(Tensor("t", "FP32", (1,), data=[value]),))
    assert write(response, kept_at=0, seconds=0) is None


@given(st.binary(max_size=20), st.none() | st.integers(0, 30))
def test_broken_bytes_are_no_answer(body: bytes, head_bytes: int | None) -> None:
    """Whatever stands in an entry, reading it does not fail."""
    assert read(Entry(body, head_bytes, 0, 0)) is None


def entry(*, kept_at: float = 1000.0, seconds: float = 0.0, size: int = 0) -> Entry:
    """An entry of this age, cost and size."""
    return Entry(b"x" * size, None, kept_at, seconds)


@pytest.mark.parametrize(
    ("age_s", "fresh", "usable"),
    [
        (-5, True, True),
        (0, True, True),
        (59.999, True, True),
        (60, False, True),
        (299.999, False, True),
        (300, False, False),
        (1e9, False, False),
    ],
)
def test_the_bounds_of_freshness(age_s: float, fresh: bool, usable: bool) -> None:  # noqa: FBT001 - expected values
    """Younger than `fresh_s` is fresh, younger than `stale_s` is usable; an entry from the future has age 0."""
    wall = 1000.0 + age_s
    assert is_fresh(entry(), RULES, wall=wall) is fresh
    assert is_usable(entry(), RULES, wall=wall) is usable


def test_what_is_fresh_is_usable_without_a_stale_time() -> None:
    """`stale_s` below `fresh_s` does not take anything away."""
    rules = CacheRules(fresh_s=60, stale_s=0)
    assert is_usable(entry(), rules, wall=1059)
    assert not is_usable(entry(), rules, wall=1060)


@pytest.mark.parametrize(("seconds", "left_s"), [(2.0, 1.0), (2.0, 4.0), (10.0, 5.0), (0.5, 0.25)])
def test_early_recomputation_follows_its_formula(seconds: float, left_s: float) -> None:
    """With r seconds left the share of callers who recompute is exp(-r/Δ): within five standard errors of it."""
    draws = 20_000
    uniform = random.Random(7).random  # noqa: S311 - seeded on purpose
    wall = 1060.0 - left_s
    count = sum(recomputes_early(entry(seconds=seconds), RULES, wall=wall, chance=uniform()) for _ in range(draws))
    expected = math.exp(-left_s / seconds)
    assert abs(count / draws - expected) < 5 * math.sqrt(expected * (1 - expected) / draws)


@given(st.floats(0, 100), st.floats(0, 59.9), st.floats(0, 1, exclude_max=True))
def test_early_recomputation_compares_with_the_formula(seconds: float, age_s: float, chance: float) -> None:
    """Exactly when now - Δ·ln(u) ≥ end, with u = 1 - chance so that it is never 0."""
    wall = 1000 + age_s
    assert recomputes_early(entry(seconds=seconds), RULES, wall=wall, chance=chance) == (
        wall - seconds * math.log(1 - chance) >= 1060
    )


def test_what_costs_nothing_is_never_recomputed_early() -> None:
    """Δ = 0."""
    assert not recomputes_early(entry(), RULES, wall=1059.999, chance=1 - 2**-53)


def test_what_has_ended_is_always_recomputed() -> None:
    """At the end itself, whatever the draw."""
    assert recomputes_early(entry(seconds=1), RULES, wall=1060, chance=0)


_steps = st.lists(
    st.tuples(st.sampled_from(["put", "get", "drop"]), st.sampled_from("abcdef"), st.integers(0, 3000)), max_size=40
)


@given(_steps, st.integers(1, 4), st.integers(0, 6000))
@settings(max_examples=300)
def test_local_entries_never_exceed_their_bounds(
    steps: list[tuple[str, str, int]], entries_max: int, bytes_max: int
) -> None:
    """After every step: number and bytes within bounds, bytes counted right, and the least recently used gone first."""
    local = LocalEntries(entries_max=entries_max, bytes_max=bytes_max)
    model: dict[str, Entry] = {}
    for action, key, size in steps:
        if action == "put":
            model.pop(key, None)
            if 1 + size + ENTRY_OVERHEAD_BYTES <= bytes_max:
                model[key] = entry(size=size)
            while len(model) > entries_max or sum(1 + len(e.body) + ENTRY_OVERHEAD_BYTES for e in model.values()) > (
                bytes_max
            ):
                del model[next(iter(model))]
            local.put(key, entry(size=size))
        elif action == "get":
            if key in model:
                model[key] = model.pop(key)
            assert local.get(key) == model.get(key)
        else:
            model.pop(key, None)
            local.drop(key)
        assert len(local) == len(model) <= entries_max
        assert local.bytes_held == sum(1 + len(e.body) + ENTRY_OVERHEAD_BYTES for e in model.values()) <= bytes_max
    assert [key for key in "abcdef" if local.get(key)] == [key for key in "abcdef" if key in model]


def test_what_is_used_stays() -> None:
    """Reading an entry makes it the last to go."""
    local = LocalEntries(entries_max=2)
    local.put("a", entry())
    local.put("b", entry())
    assert local.get("a")
    local.put("c", entry())
    assert [key for key in "abc" if local.get(key)] == ["a", "c"]


def test_an_entry_from_the_future_is_not_used() -> None:
    """A clock that was set back must not make an answer fresh for as long as the clock was wrong."""
    entry_ = Entry(b"{}", None, kept_at=10_000.0, seconds=0.1)
    assert is_fresh(entry_, RULES, wall=9_998.0)
    assert not is_fresh(entry_, RULES, wall=6_400.0)
    assert not is_usable(entry_, RULES, wall=6_400.0)
