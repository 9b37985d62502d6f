"""Routing: a caller keeps its version, shares follow the weights, and a change moves only who must move."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.catalog import Catalog, Endpoint, Version
from headrace.errors import UnknownTarget
from headrace.routing.draw import draw

CALLERS = [f"tenant\0{number}" for number in range(4000)]


def weighted(endpoint: Endpoint, **weights: int) -> Endpoint:
    """The endpoint with these versions."""
    return replace(
        endpoint, versions=tuple(Version(name, "sha256:x", "endpoint", weight) for name, weight in weights.items())
    )


def drawn(endpoint: Endpoint, caller: str) -> Version:
    """The version that this caller gets."""
    return draw(endpoint.hosted, endpoint=endpoint.name, caller=caller)


def test_a_caller_keeps_its_version(detection: Endpoint) -> None:
    """The choice depends on nothing but endpoint, weights and caller."""
    first = [drawn(detection, caller) for caller in CALLERS[:100]]
    assert first == [drawn(detection, caller) for caller in CALLERS[:100]]


def test_shares_follow_the_weights(detection: Endpoint) -> None:
    """90 to 10 over 4,000 callers stays within 4 standard deviations (19 callers each)."""
    chosen = [drawn(detection, caller).name for caller in CALLERS]
    assert abs(chosen.count("v2") - 400) < 80


@given(a=st.integers(1, 100), b=st.integers(0, 100), gain=st.integers(1, 100))
def test_a_raised_weight_moves_callers_only_towards_it(a: int, b: int, gain: int) -> None:
    """No caller moves between versions whose weights did not change."""
    endpoint = Endpoint("e", "t", "d", False, (), (), (), (), 1, 1, 1, None, ())  # type: ignore[arg-type]
    before, after = weighted(endpoint, a=a, b=b, c=5), weighted(endpoint, a=a, b=b + gain, c=5)
    for caller in CALLERS[:200]:
        old = drawn(before, caller).name
        new = drawn(after, caller).name
        assert new in (old, "b")


def test_a_version_of_weight_0_gets_no_traffic(detection: Endpoint) -> None:
    """That is how a version is tried before it is released: it can only be pinned."""
    endpoint = weighted(detection, v1=1, v2=0)
    assert {drawn(endpoint, caller).name for caller in CALLERS[:500]} == {"v1"}


def test_the_model_of_a_task_is_the_default_unless_named(catalog: Catalog) -> None:
    """A caller who names none gets the default; one who names another task's model is told."""
    assert catalog.for_task("object-detection", None).name == "detection"
    with pytest.raises(UnknownTarget):
        catalog.for_task("object-detection", "sentiment")
    with pytest.raises(UnknownTarget):
        catalog.for_task("tabular-scoring", None)
