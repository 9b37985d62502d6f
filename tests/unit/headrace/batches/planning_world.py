"""A planner on fakes: one file goes in, and what was written comes out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from headrace.batches.layout import duplicates_key, plan_key, staged_key
from headrace.batches.planning.planner import Planned, Planner, PlanStep, load_plan, shard_of
from headrace.batches.planning.transform import Preparation
from headrace.batches.reading.reader import Reader
from headrace.batches.reading.records import Bad, Record, read_records
from headrace.batches.states import Batch, Format, Options, Source
from headrace.catalog import Catalog
from headrace.fakes.batch_files import FakeHosting, FakeTables, fake_ids
from headrace.fakes.batches import FakeBatchTable, FakeObjects, FakeSources

TENANT, BATCH = "acme", "batch_" + "a" * 22
INPUTS = "inputs"
KEY = "tenants/acme/files/file_1.jsonl"
NOW = 1_000_000.0


@dataclass(slots=True)
class World:
    """Everything that a planner touches, and one batch."""

    catalog: Catalog
    sources: FakeSources = field(default_factory=FakeSources)
    bucket: FakeObjects = field(default_factory=FakeObjects)
    records: FakeBatchTable = field(default_factory=FakeBatchTable)
    tables: FakeTables = field(default_factory=FakeTables)
    hosting: FakeHosting = field(default_factory=FakeHosting)
    now: float = NOW

    def upload(
        self, data: bytes, format: Format = "jsonl", *, gzip: bool = False, endpoint: str = "sentiment",  # noqa: A002
        url: str = "/v1/classifications", **options: Any,
    ) -> Batch:  # fmt: skip
        """A file, and the batch that works on it."""
        self.sources.files[INPUTS, KEY, "v1"] = data
        source = Source(INPUTS, KEY, "v1", len(data), format, gzip=gzip)
        batch = Batch(TENANT, BATCH, NOW, source, Options(endpoint, url, **options))
        self.records.batches[TENANT, BATCH] = batch
        return batch

    @property
    def planner(self) -> Planner:
        """A planner, as a new run of the function makes it."""
        reader = Reader(
            sources=self.sources,
            tables=self.tables,
            objects=self.bucket,
            streams=self.bucket,
            ids=fake_ids,
            inputs_bucket=INPUTS,
        )
        return Planner(
            catalog=self.catalog,
            records=self.records,
            reader=reader,
            objects=self.bucket,
            parts=self.bucket,
            preparation=Preparation(sources=self.sources, objects=self.bucket, streams=self.bucket),
            hosting=self.hosting,
            batches_bucket="batches",
            prefix="headrace-test",
            wall=lambda: self.now,
        )

    def plan(self) -> PlanStep:
        """One run."""
        return self.planner.run(TENANT, BATCH)

    @property
    def batch(self) -> Batch:
        """The record as it is."""
        return self.records.batches[TENANT, BATCH]

    @property
    def problem(self) -> str:
        """Why the file could not be used."""
        assert self.batch.state == "failed"
        (problem,) = self.batch.problems
        return problem.code

    @property
    def planned(self) -> Planned:
        """The plan as it was written."""
        return load_plan(self.bucket.objects[plan_key(TENANT, BATCH)])

    def listed(self, key: str) -> list[int]:
        """Numbers of the shards in a list."""
        return [shard_of(row).number for row in json.loads(self.bucket.objects[key])]

    def found(self) -> list[Record | Bad]:
        """What scorers will read, shard by shard."""
        return list(self._found())

    def duplicates(self) -> list[int]:
        """Lines that the plan says came before."""
        keys = [duplicates_key(TENANT, BATCH, shard.number) for shard in self.planned.shards if shard.duplicates]
        return [line for key in keys for line in json.loads(self.bucket.objects[key])["lines"]]

    def _found(self) -> Iterator[Record | Bad]:
        lines = self.planned.lines
        data = (
            self.bucket.objects[staged_key(TENANT, BATCH)] if lines.staged else next(iter(self.sources.files.values()))
        )
        for shard in self.planned.shards:
            chunk = data[shard.start : shard.end]
            records = list(read_records([chunk], lines=lines, start=shard.start, line=shard.line))
            assert len(records) == shard.records
            yield from records
