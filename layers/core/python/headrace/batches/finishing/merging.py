"""From parts to files: results and errors in the order of the input, streamed, and counted line by line.

What is counted here is the lines themselves, not what headers say of them: the plan's numbers are held against these.

How far each shard is gets written down before anything is merged, once per run. A scorer that comes late may still
write a part, and two may merge at once: they all merge the same, so it does not matter whose files are the last.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.batches.layout import Shard
from headrace.batches.scoring.parts import Chain, PartStore, walk_all
from headrace.batches.states import Counts
from headrace.batches.storage import CHUNK_BYTES, Objects, Sink
from headrace.errors import StoreUnavailable

LF = b"\n"


class MergeStore(PartStore, Objects, Protocol):
    """The bucket of batches."""


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

    `wrong` are shards whose parts hold another number of lines than they say, or than the plan says: another one when
    they are all there, more when they are not.
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


def ends(store: MergeStore, tenant: str, batch_id: str, shards: Sequence[Shard], *, key: str) -> list[Chain]:
    """The shards' chains as they are to be merged: as they are now, or were when `key` was first written.

    Raises:
        StoreUnavailable: they could not be read, or not written down.
    """
    chains = walk_all(store, tenant, batch_id, shards)
    if store.write_once(key, json.dumps([chain.at for chain in chains], separators=(",", ":")).encode()):
        return chains
    body = store.read(key)
    if body is None:
        raise StoreUnavailable("It could not be read how far the shards were.")
    return [chain.until(shard, end) for chain, shard, end in zip(chains, shards, json.loads(body), strict=True)]


def merge(store: PartStore, chains: Sequence[Chain], shards: Sequence[Shard], *, results: Sink, errors: Sink) -> Merged:
    """Write every part's lines, shard after shard.

    Raises:
        StoreUnavailable: a part could not be read, or is not what its header says.
    """
    good, bad, merged = Tally(results), Tally(errors), Merged()
    for chain, shard in zip(chains, shards, strict=True):
        before = good.lines, bad.lines
        _copy(store, chain, good, bad)
        found, failed = good.lines - before[0], bad.lines - before[1]
        merged.parts += len(chain.parts)
        merged.degraded += chain.counts.degraded
        done = chain.done(shard)
        if not done:
            merged.missing.append(shard.number)
        as_told = (found, failed) == (chain.counts.results, chain.counts.errors)
        as_planned = found + failed == shard.records if done else found + failed <= shard.records
        if not (as_told and as_planned):
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
