"""From parts to files: results and errors in the order of the input, streamed, and counted line by line.

What is counted here is the lines themselves, not what headers say of them: the plan's numbers are held against these.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from headrace.batches.layout import Shard
from headrace.batches.scoring.parts import Chain, PartStore, walk
from headrace.batches.states import Counts
from headrace.batches.storage import CHUNK_BYTES, Sink
from headrace.errors import StoreUnavailable

LF = b"\n"


@dataclass(slots=True)
class Tally:
    """Lines that were written to one file, and their bytes; small writes are gathered."""

    sink: Sink
    lines: int = 0
    size: int = 0
    _held: list[bytes] = field(default_factory=list)
    _held_size: int = 0

    def write(self, data: bytes) -> None:
        """Add whole lines, or parts of them. Raises StoreUnavailable."""
        self.lines += data.count(LF)
        self.size += len(data)
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self.sink.write(b"".join(self._held))
            self._held, self._held_size = [], 0


@dataclass(slots=True)
class Merged:
    """What a merge found: lines written, how many results came from stand-ins, shards that are not whole.

    `wrong` are shards whose parts are all there and hold another number of records than the plan says.
    """

    results: int = 0
    errors: int = 0
    degraded: int = 0
    results_bytes: int = 0
    errors_bytes: int = 0
    parts: int = 0
    missing: list[int] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    @property
    def counts(self) -> Counts:
        """The lines, as the batch's record keeps them."""
        return Counts(self.results + self.errors, self.results, self.errors, self.degraded)


def merge(
    store: PartStore, tenant: str, batch_id: str, shards: tuple[Shard, ...], *, results: Sink, errors: Sink
) -> Merged:
    """Write every part's lines, shard after shard.

    Raises:
        StoreUnavailable: a part could not be read, or is not what its header says.
    """
    good, bad, merged = Tally(results), Tally(errors), Merged()
    for shard in shards:
        before = good.lines + bad.lines
        chain = walk(store, tenant, batch_id, shard)
        _copy(store, chain, good, bad)
        merged.parts += len(chain.parts)
        merged.degraded += chain.counts.degraded
        if not chain.done(shard):
            merged.missing.append(shard.number)
        elif good.lines + bad.lines - before != shard.records:
            merged.wrong.append(shard.number)
    good.flush()
    bad.flush()
    merged.results, merged.results_bytes = good.lines, good.size
    merged.errors, merged.errors_bytes = bad.lines, bad.size
    return merged


def _copy(store: PartStore, chain: Chain, good: Tally, bad: Tally) -> None:
    for key, header in chain.parts:
        left = header.results_bytes + header.errors_bytes
        to_results = header.results_bytes
        for chunk in store.chunks(key, start=header.size):
            left -= len(chunk)
            if to_results:
                good.write(chunk[:to_results])
            if to_results < len(chunk):
                bad.write(chunk[to_results:])
            to_results = max(0, to_results - len(chunk))
        if left:
            raise StoreUnavailable("A part of the batch is not as long as it says.")


def lines_in(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Whole lines without their ends, from chunks of any size."""
    held = b""
    for chunk in chunks:
        pieces = (held + chunk).split(LF)
        held = pieces.pop()
        yield from pieces
    if held:
        yield held
