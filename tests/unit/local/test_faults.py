"""Which requests a fault strikes, on a clock and dice of the test's own."""

import json

import pytest

from infra_local.faults import FaultBook, misshape, parse_fault

ENDPOINTS = {"toy": ["a", "b"], "dynamodb": ["state", "keys"]}


def test_count_and_seconds_end_a_fault() -> None:
    """A fault ends after so many requests, or so many seconds, whichever was asked for."""
    now = [0.0]
    book = FaultBook(clock=lambda: now[0], dice=lambda: 0.0)
    book.add(parse_fault({"endpoint": "toy", "kind": "hang", "count": 2}, endpoints=ENDPOINTS, now=0))
    assert [len(book.strike("toy", "a")) for _ in range(3)] == [1, 1, 0]
    book.add(parse_fault({"endpoint": "toy", "kind": "hang", "seconds": 5}, endpoints=ENDPOINTS, now=0))
    assert len(book.strike("toy", "a")) == 1
    now[0] = 5.0
    assert book.strike("toy", "a") == []


def test_rate_variant_and_endpoint_choose_requests() -> None:
    """The dice decide below the rate; other variants and endpoints are left alone."""
    dice = iter([0.1, 0.3])
    book = FaultBook(clock=lambda: 0.0, dice=lambda: next(dice))
    wish = {"endpoint": "toy", "kind": "garbage", "rate": 0.2, "variant": "a"}
    book.add(parse_fault(wish, endpoints=ENDPOINTS, now=0))
    assert book.strike("toy", "b") == []
    assert book.strike("other", "a") == []
    assert len(book.strike("toy", "a")) == 1
    assert book.strike("toy", "a") == []


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        ({"endpoint": "x", "kind": "hang"}, "choose one of toy, dynamodb"),
        ({"endpoint": "dynamodb", "kind": "garbage"}, "choose one of latency, throttle, 5xx, unavailable, hang$"),
        ({"endpoint": "dynamodb", "kind": "hang", "count": 1}, "say seconds"),
        ({"endpoint": "toy", "kind": "flood"}, "choose one of latency"),
        ({"endpoint": "toy", "kind": "hang", "variant": "c"}, "choose one of a, b"),
        ({"endpoint": "toy", "kind": "hang", "rate": 2}, "between 0 and 1"),
        ({"endpoint": "toy", "kind": "hang", "seconds": "x"}, "seconds must be a number"),
    ],
)
def test_impossible_wishes_are_refused_with_the_possible(wish: dict[str, object], says: str) -> None:
    """A wish that cannot be met names what could be."""
    with pytest.raises(ValueError, match=says):
        parse_fault(wish, endpoints=ENDPOINTS, now=0)


def test_wrong_shape_keeps_binary_tensors_after_their_header() -> None:
    """A binary answer keeps its raw part, and the header's new size is given back."""
    header = json.dumps({"outputs": [{"name": "y", "shape": [9, 2]}]}).encode()
    body, size = misshape(header + b"\x00\x01", header_bytes=len(header))
    assert size is not None
    assert json.loads(body[:size])["outputs"][0]["shape"] == [10, 2]
    assert body[size:] == b"\x00\x01"
