"""Scoring: one shard's records are asked for, and what comes of them is written in parts.

Records never leave this loop: a shard is a range of bytes, a run begins where the shard's chain of parts ends, and a
part is written once. So whatever is killed, runs twice or comes late, every record has one result or one error. A run
ends when the shard is done, when its own time is nearly up ("more"), when the batch is to end ("stopped"), or when
there is no room to ask for longer than a function should wait ("paused").
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from headrace.batches.bounds import SCORE_MARGIN_S, SHARDS_AT_ONCE
from headrace.batches.layout import Shard, duplicates_key, plan_key, staged_key
from headrace.batches.planning.planned import load_lines
from headrace.batches.reading.records import read_records
from headrace.batches.scoring.asking import LoadImage
from headrace.batches.scoring.pace import Bounds, begun
from headrace.batches.scoring.part_writer import Overtaken
from headrace.batches.scoring.parts import PartStore, walk
from headrace.batches.scoring.posing import Poser
from headrace.batches.scoring.requests import Asker
from headrace.batches.scoring.shard_run import Run, Traffic
from headrace.batches.states import OVER, Batch
from headrace.batches.storage import BatchRecords, Objects, Progresses, Sources, Streams
from headrace.catalog import Catalog, Endpoint
from headrace.errors import StoreUnavailable, UnknownTarget
from headrace.routing.document import Routing
from headrace.routing.held import declared_alone

State = Literal["done", "more", "paused", "stopped"]


@dataclass(frozen=True, slots=True)
class Scored:
    """How a run ended: `at` is the byte the shard goes on at, `wait_s` how long to wait before, when paused."""

    state: State
    wait_s: int = 0
    at: int = 0


class Store(Objects, Streams, Protocol):
    """The bucket of batches."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores shards, one at a time.

    Args:
        catalog: endpoints and plans.
        records: the batches.
        progress: where it is told how far a shard is.
        sources: the files.
        store: the bucket of batches.
        askers: what asks, made for one run.
        traffic: what is known of callers who wait.
        images: reads an object below a tenant's prefix, for an endpoint whose records name objects.
        clock: monotonic seconds, the policy's.
        wall: seconds since the epoch.
        uniform: chance in [0, 1).
        peers: how many shards are scored at once at most.
        routing: the routing document in force on an endpoint, or None.
    """

    catalog: Catalog
    records: BatchRecords
    progress: Progresses
    sources: Sources
    store: Store
    askers: Callable[[], AbstractContextManager[Asker]]
    traffic: Traffic
    images: Callable[[str, Endpoint], LoadImage]
    clock: Callable[[], float]
    wall: Callable[[], float]
    uniform: Callable[[], float]
    peers: int = SHARDS_AT_ONCE
    routing: Callable[[str], Routing | None] = declared_alone

    def run(self, tenant: str, batch_id: str, shard: Shard, *, until_s: float) -> Scored:
        """Go on with a shard until it is done, or `until_s` (wall clock) is near.

        Raises:
            StoreUnavailable: records or parts cannot be read or written just now. What was written stands.
            UnknownTarget: the batch, its plan or its file is gone.
            Forbidden: the caller's plan is not known any more.
        """
        batch = self.records.get(tenant, batch_id)
        planned = self.store.read(plan_key(tenant, batch_id))
        if batch is None or planned is None:
            raise UnknownTarget("There is no such batch.", code="batch_not_found")
        lines = load_lines(planned)
        poser = Poser(batch, catalog=self.catalog, clock=self.clock, routing=self.routing)
        duplicates = self._duplicates(batch, shard)
        pace = begun(
            Bounds(
                items_max=poser.items_max,
                objective_s=poser.endpoint.slo_latency_p99_ms / 1000,
                peers=max(1, min(self.peers, batch.shards)),
            )
        )
        until = self.clock() + (until_s - self.wall()) - SCORE_MARGIN_S
        while True:
            chain = walk(self.store, tenant, batch_id, shard)
            if chain.done(shard):
                return Scored("done", at=chain.at)
            if self.must_stop(batch):
                return Scored("stopped", at=chain.at)
            if lines.staged:
                chunks = self.store.chunks(staged_key(tenant, batch_id), start=chain.at, end=shard.end)
            else:
                chunks = self.sources.chunks(batch.source, start=chain.at, end=shard.end)
            with self.askers() as asker:
                run = Run(
                    self,
                    batch,
                    shard,
                    chain,
                    records=read_records(chunks, lines=lines, start=chain.at, line=chain.line),
                    poser=poser,
                    asker=asker,
                    pace=pace,
                    duplicates=duplicates,
                    until=until,
                )
                try:
                    return Scored(*run.go())
                except Overtaken:
                    pace = run.pace  # somebody else wrote the part first: go on behind it

    def must_stop(self, batch: Batch) -> bool:
        """Whether nothing of the batch is begun any more: it is cancelled, over, or older than a batch may be."""
        return batch.state in OVER | {"cancelling", "finalizing"} or self.wall() >= batch.due_at

    def _duplicates(self, batch: Batch, shard: Shard) -> frozenset[int]:
        if not shard.duplicates:
            return frozenset()
        body = self.store.read(duplicates_key(batch.tenant, batch.batch_id, shard.number))
        if body is None:
            raise StoreUnavailable("The list of a shard's duplicates could not be read.")
        document: dict[str, Any] = json.loads(body)
        return frozenset(document["lines"])


__all__ = ["Asker", "PartStore", "Scored", "Scorer", "Store", "Traffic"]
