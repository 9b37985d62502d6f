"""Parts: what of a shard was finished in one go, each an object that is written once and never again.

A part is a line of JSON that says what it holds, then its results' lines, then its errors' lines. It begins where the
part before it ended, so a shard's parts are a chain, and the chain's end is where the shard goes on. Whoever comes
second to write a part (a retry, a zombie, a duplicate) finds the first one's and goes on behind that: the records in
between have their one result there, whatever the second one computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

from headrace.batches.layout import Shard, part_key, parts_prefix
from headrace.batches.states import Counts
from headrace.errors import StoreUnavailable

HEADER_BYTES_MAX = 1024
"""What is read of a part to know what it is; a header has about 150 bytes."""
PARTS_MAX = 100_000
"""Of one shard; a chain that goes on beyond it is broken."""


class PartStore(Protocol):
    """Where parts lie: `Streams` and `Objects` together have it."""

    def chunks(self, key: str, *, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """An object's bytes."""

    def keys(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Keys and sizes below a prefix."""

    def write_once(self, key: str, body: bytes) -> bool:
        """Write unless there is one."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a part holds: the bytes `start` to `end` of the lines; `line` is the number of the line at `end`.

    `counts.total` are its records. `results_bytes` of lines follow the header, and `errors_bytes` those. `size` is the
    header's own, newline included.
    """

    start: int
    end: int
    line: int
    counts: Counts
    results_bytes: int
    errors_bytes: int
    size: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """How far a shard is: the byte and the line at which it goes on, what is over, and its parts' keys and headers."""

    at: int
    line: int
    counts: Counts = field(default_factory=Counts)
    parts: tuple[tuple[str, Header], ...] = ()

    def done(self, shard: Shard) -> bool:
        """Whether nothing is left of the shard."""
        return self.at >= shard.end

    def until(self, shard: Shard, end: int) -> Chain:
        """The chain as it was when it ended at byte `end`.

        Raises:
            StoreUnavailable: it does not reach so far, so it was not read well.
        """
        parts = tuple(part for part in self.parts if part[1].end <= end)
        at, line = (parts[-1][1].end, parts[-1][1].line) if parts else (shard.start, shard.line)
        if at != end:
            raise StoreUnavailable("The parts of a shard do not reach as far as they did.")
        return Chain(at, line, sum((header.counts for _, header in parts), Counts()), parts)


def part_bytes(header: Header, *, results: list[bytes], errors: list[bytes]) -> bytes:
    """The object of a part."""
    fields = asdict(header)
    del fields["size"]
    return b"".join((json.dumps(fields, separators=(",", ":")).encode(), b"\n", *results, *errors))


def read_header(first: bytes) -> Header:
    """The header, from a part's first bytes (`HEADER_BYTES_MAX` are enough).

    Raises:
        StoreUnavailable: this is no part. Nothing else is written under such a key, so it was not read well.
    """
    end = first.find(b"\n") + 1
    try:
        fields = json.loads(first[:end])
        return Header(**{**fields, "counts": Counts(**fields["counts"])}, size=end)
    except (ValueError, TypeError, KeyError):
        raise StoreUnavailable("A part of the batch could not be read.") from None


def same(one: Header, other: Header) -> bool:
    """Whether two headers say the same of a part, whoever wrote it."""
    return replace(one, size=0) == replace(other, size=0)


def walk(store: PartStore, tenant: str, batch_id: str, shard: Shard) -> Chain:
    """The shard's chain as it is now: one list, and a small read for each part.

    Raises:
        StoreUnavailable: it could not be read.
    """
    there = {key for key, _ in store.keys(parts_prefix(tenant, batch_id, shard.number))}
    return extend(store, tenant, batch_id, shard, Chain(shard.start, shard.line), there=there)


def walk_all(store: PartStore, tenant: str, batch_id: str, shards: Sequence[Shard]) -> list[Chain]:
    """The shards' chains as they are now: one list for all of them.

    Raises:
        StoreUnavailable: they could not be read.
    """
    there = {key for key, _ in store.keys(parts_prefix(tenant, batch_id))}
    return [extend(store, tenant, batch_id, shard, Chain(shard.start, shard.line), there=there) for shard in shards]


def extend(
    store: PartStore, tenant: str, batch_id: str, shard: Shard, chain: Chain, *, there: set[str]
) -> Chain:  # fmt: skip
    """The chain with those parts of `there` that follow on it. Raises StoreUnavailable."""
    parts = list(chain.parts)
    at, line, counts = chain.at, chain.line, chain.counts
    while at < shard.end and len(parts) < PARTS_MAX:
        key = part_key(tenant, batch_id, shard.number, at)
        if key not in there:
            break
        header = header_of(store, key)
        if header.start != at or header.end <= at:
            raise StoreUnavailable("The parts of a shard do not follow on each other.")
        parts.append((key, header))
        at, line, counts = header.end, header.line, counts + header.counts
    return Chain(at, line, counts, tuple(parts))


def header_of(store: PartStore, key: str) -> Header:
    """What a part says that it holds. Raises StoreUnavailable, UnknownTarget."""
    return read_header(b"".join(store.chunks(key, start=0, end=HEADER_BYTES_MAX)))


def write(
    store: PartStore, tenant: str, batch_id: str, shard: Shard, header: Header, *, results: list[bytes],
    errors: list[bytes],
) -> Header:  # fmt: skip
    """Write a part, or find that its place is taken: the header of the part that stands there.

    Raises:
        StoreUnavailable: it is not known whether it was written. Writing it again finds out.
    """
    key = part_key(tenant, batch_id, shard.number, header.start)
    if store.write_once(key, part_bytes(header, results=results, errors=errors)):
        return header
    return header_of(store, key)
