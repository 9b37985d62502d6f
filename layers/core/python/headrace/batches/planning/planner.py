"""Planning: a file is read once, and what comes next is decided: shards to score, a transform job, or nothing.

    validating ──► the file is read ──► plan.json, shards.json ──► in_progress
        │                 └── it cannot be used ──► failed, with the problem
        └── cancelled meanwhile, too old, over ──► nothing to do

Everything that is written lies where the same run would write the same again, and `plan.json` is written last: a run
that is repeated finds it and reads nothing twice. A redrive lists the shards whose parts are not complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from headrace.batches.layout import Shard, plan_key, shards_key
from headrace.batches.planning.planned import (
    Planned,
    PlanStep,
    choose_method,
    dump_plan,
    load_plan,
    shard_document,
    shard_of,
)
from headrace.batches.planning.transform import Hosted, Hosting, Preparation, job_of
from headrace.batches.reading.formats import Unusable
from headrace.batches.reading.reader import Reader, Unwanted
from headrace.batches.scoring.parts import PartStore, walk_all
from headrace.batches.states import Batch, Counts, Problem, moved
from headrace.batches.storage import BatchRecords, Objects
from headrace.catalog import Catalog, Endpoint
from headrace.errors import StoreUnavailable, UnknownTarget
from headrace.routing.document import Routing
from headrace.routing.held import declared_alone
from headrace.routing.traffic import traffic_of

MOVES_MAX = 5
"""How often a record that others move at the same time is read again."""
NOTHING = PlanStep("none")
GONE = Problem("object_gone", "The file is gone, or this version of it: upload it again and start a new batch.")


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans batches.

    Args:
        catalog: endpoints and plans.
        records: the batches.
        reader: reads files.
        objects, parts: the batches' bucket.
        preparation: writes what a transform job reads.
        hosting: what endpoints run on.
        batches_bucket: the bucket's name, for a transform job.
        prefix: begins the names of transform jobs: stages of one account must not end each other's.
        wall: seconds since the epoch.
        routing: the routing document in force on an endpoint, or None.
    """

    catalog: Catalog
    records: BatchRecords
    reader: Reader
    objects: Objects
    parts: PartStore
    preparation: Preparation
    hosting: Hosting
    batches_bucket: str
    prefix: str
    wall: Callable[[], float]
    routing: Callable[[str], Routing | None] = declared_alone

    def run(self, tenant: str, batch_id: str) -> PlanStep:
        """Plan a batch, or find what was planned before.

        Raises:
            StoreUnavailable: something could not be read or written just now. Running again goes on.
        """
        batch = self.records.get(tenant, batch_id)
        if batch is None or not self._wanted(batch):
            return NOTHING
        try:
            endpoint = self.catalog.endpoint(batch.options.endpoint)
            planned = self._planned(batch, endpoint)
        except Unusable as error:
            return self._failed(batch, error.problem)
        except UnknownTarget as error:
            return self._failed(batch, GONE if error.code == "object_not_found" else Problem(error.code, error.message))
        except Unwanted:
            return NOTHING
        shards = planned.shards
        if batch.redrives:
            shards = self._missing(batch, shards)
        key = shards_key(tenant, batch_id, redrives=batch.redrives)
        self.objects.write(key, json.dumps([shard_document(shard) for shard in shards], separators=(",", ":")).encode())
        if not self._begun(batch, planned):
            return NOTHING
        if not shards:
            return PlanStep("none", key, 0)
        # A redrive is for what is missing, which is less than what instances of their own are worth.
        hosted = self._hosted(batch, planned) if planned.method == "transform" and not batch.redrives else None
        if hosted is None:
            return PlanStep("map", key, len(shards))
        job = job_of(batch, hosted, bucket=self.batches_bucket, rules=endpoint.batch, name_prefix=self.prefix)
        return PlanStep("transform", key, len(shards), job)

    def _wanted(self, batch: Batch) -> bool:
        return batch.state in {"validating", "in_progress"} and self.wall() <= batch.due_at

    def _planned(self, batch: Batch, endpoint: Endpoint) -> Planned:
        key = plan_key(batch.tenant, batch.batch_id)
        there = self.objects.read(key)
        if there is not None:
            return load_plan(there)

        def wanted() -> bool:
            now = self.records.get(batch.tenant, batch.batch_id)
            return now is not None and self._wanted(now)

        found = self.reader.read(batch, endpoint, wanted=wanted)
        size = found.lines.size - found.lines.start
        method, reason = choose_method(records=found.records, size=size, asked=batch.options.method, endpoint=endpoint)
        planned = Planned(
            found.lines,
            found.records,
            found.blank,
            found.duplicates,
            found.shards,
            method,
            reason,
            unused=tuple(column.name for column in found.lines.columns if not column.role),
        )
        if method == "transform":
            planned = self._prepared(batch, endpoint, planned)
        if self.objects.write_once(key, dump_plan(planned)):
            return planned
        there = self.objects.read(key)  # another run of the same step was first: what it chose is what counts
        if there is None:
            raise StoreUnavailable("The plan could not be read.")
        return load_plan(there)

    def _prepared(self, batch: Batch, endpoint: Endpoint, planned: Planned) -> Planned:
        in_force = traffic_of(endpoint, self.routing(endpoint.name)).endpoint
        version = batch.options.version or max(in_force.hosted, key=lambda version: version.weight).name
        planned = replace(planned, version=version)
        if self._hosted(batch, planned) is None:
            reason = f"{planned.reason} Its endpoint is not there to be copied, so it is the map."
            return replace(planned, method="map", reason=reason, version="")
        if not self.preparation.write(batch, endpoint, planned):
            return replace(planned, method="map", reason=f"{planned.records} records, none of which can be asked.")
        return planned

    def _hosted(self, batch: Batch, planned: Planned) -> Hosted | None:
        return self.hosting.hosted(batch.options.endpoint, planned.version)

    def _missing(self, batch: Batch, shards: Sequence[Shard]) -> tuple[Shard, ...]:
        chains = walk_all(self.parts, batch.tenant, batch.batch_id, shards)
        return tuple(shard for shard, chain in zip(shards, chains, strict=True) if not chain.done(shard))

    def _begun(self, batch: Batch, planned: Planned) -> bool:
        """Whether the batch is in progress now, through this run or another one of the same."""
        for _ in range(MOVES_MAX):
            if batch.state == "in_progress" and batch.shards == len(planned.shards):
                return True
            if batch.state not in {"validating", "in_progress"}:
                return False
            told = replace(
                batch,
                method=planned.method,
                reason=planned.reason,
                shards=len(planned.shards),
                counts=Counts(total=planned.records),
            )
            if self.records.move(batch, moved(told, "in_progress", now=self.wall())):
                return True
            found = self.records.get(batch.tenant, batch.batch_id)
            if found is None:
                return False
            batch = found
        raise StoreUnavailable("The batch is being moved by others.")

    def _failed(self, batch: Batch, problem: Problem) -> PlanStep:
        """The file cannot be used: the batch has failed, unless it is over or cancelled already."""
        for _ in range(MOVES_MAX):
            failed = replace(moved(batch, "failed", now=self.wall()), problems=(problem,))
            if self.records.move(batch, failed):
                return NOTHING
            found = self.records.get(batch.tenant, batch.batch_id)
            if found is None or found.state not in {"validating", "in_progress"}:
                return NOTHING
            batch = found
        raise StoreUnavailable("The batch is being moved by others.")


__all__ = [
    "PlanStep",
    "Planned",
    "Planner",
    "choose_method",
    "dump_plan",
    "load_plan",
    "shard_document",
    "shard_of",
]
