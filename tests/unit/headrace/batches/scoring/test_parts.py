"""Parts: written once, chained by where they end, read by their headers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.batches.layout import Shard, part_key
from headrace.batches.scoring import parts
from headrace.batches.scoring.parts import HEADER_BYTES_MAX, Header, part_bytes, read_header, same, walk
from headrace.batches.states import Counts
from headrace.errors import StoreUnavailable
from headrace.fakes.batches import FakeObjects

SHARD = Shard(0, 100, 400, 11, 30)


def header(start: int, end: int, *, line: int = 12) -> Header:
    """A part of one result and no errors."""
    return Header(start, end, line, Counts(1, 1, 0, 0), 3, 0)


def put(store: FakeObjects, start: int, end: int, *, line: int = 12) -> Header:
    """Write a part; the one that stands."""
    return parts.write(store, "acme", "b1", SHARD, header(start, end, line=line), results=[b"{}\n"], errors=[])


@given(st.tuples(*[st.integers(0, 1 << 40)] * 8))
def test_a_header_is_read_back_from_its_first_bytes(numbers: tuple[int, ...]) -> None:
    """Whatever it says, its line fits into what is read of a part, and says the same again."""
    start, end, line, results_bytes, errors_bytes, *counts = numbers
    written = Header(start, end, line, Counts(*counts), results_bytes, errors_bytes)
    body = part_bytes(written, results=[b"r" * 2000 + b"\n"], errors=[])
    found = read_header(body[:HEADER_BYTES_MAX])
    assert same(found, written)
    assert body[found.size :].startswith(b"rrr")


@pytest.mark.parametrize("data", [b"", b"{}\n", b"no json\n", b'{"start":1', b"[1]\n"])
def test_what_is_no_part_is_not_read_as_one(data: bytes) -> None:
    """Nothing else is written there, so it is the store that is at fault."""
    with pytest.raises(StoreUnavailable):
        read_header(data)


def test_a_chain_goes_on_where_the_last_part_ended() -> None:
    """Parts follow on each other from the shard's first byte; the end of the last is where the shard goes on."""
    store = FakeObjects()
    assert walk(store, "acme", "b1", SHARD).at == 100
    put(store, 100, 200, line=20)
    put(store, 200, 300, line=25)
    chain = walk(store, "acme", "b1", SHARD)
    assert (chain.at, chain.line, chain.counts) == (300, 25, Counts(2, 2, 0, 0))
    assert not chain.done(SHARD)
    put(store, 300, 400, line=30)
    assert walk(store, "acme", "b1", SHARD).done(SHARD)


def test_the_second_writer_finds_the_first_ones_part() -> None:
    """Who comes late writes nothing, and is told what stands."""
    store = FakeObjects()
    assert put(store, 100, 250).end == 250
    before = dict(store.objects)
    assert put(store, 100, 200).end == 250
    assert store.objects == before


def test_a_part_behind_a_gap_does_not_count() -> None:
    """What does not follow on the chain is not of it."""
    store = FakeObjects()
    put(store, 200, 300)
    assert walk(store, "acme", "b1", SHARD).at == 100


def test_a_part_that_leads_nowhere_is_a_fault_of_the_store() -> None:
    """A chain goes forward, or it cannot be trusted."""
    store = FakeObjects()
    store.write(part_key("acme", "b1", 0, 100), part_bytes(header(100, 100), results=[], errors=[]))
    with pytest.raises(StoreUnavailable):
        walk(store, "acme", "b1", SHARD)
