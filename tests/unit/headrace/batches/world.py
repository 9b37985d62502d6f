"""A small world for batches: a file, its plan, stores in memory, a model, and virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any

from headrace.batches.finishing.finisher import Finisher
from headrace.batches.layout import Shard, duplicates_key, errors_key, plan_key, report_key, results_key
from headrace.batches.planning.planned import Planned, dump_plan
from headrace.batches.reading.formats import Lines
from headrace.batches.scoring.scorer import Asker, Scorer
from headrace.batches.states import Batch, Options, Source
from headrace.catalog import Catalog
from headrace.declaration.compile import compile_catalog
from headrace.declaration.parse import parse_declaration, parse_plans
from headrace.errors import HeadraceError, InvalidRequest, TargetUnavailable
from headrace.fakes.asking import FakeClock, FakeTraffic, fake_asker
from headrace.fakes.batches import FakeBatchTable, FakeObjects, FakeSources
from headrace.fakes.files import FakeFileTable
from headrace.fakes.notices import FakeNotices
from headrace.inference import InferenceResponse, Tensor
from headrace.invocation.policy import Invocation
from tests.unit.headrace.declarations import DETECTION, PLANS, SENTIMENT

TENANT, BATCH = "acme", "batch_0000000000000000000000"
SOURCE = Source("inputs", "tenants/acme/tweets.jsonl", "v1", 0, "jsonl")
BATCH_PLAN = "  batch: {tier: 0, concurrency: 64, rate: {per_second: 1000, burst: 2000}}\n"
LABELS = ("negative", "neutral", "positive")
POISON = "poison"
"""A text that the model refuses."""


@cache
def batch_catalog() -> Catalog:
    """A text classifier of 8 texts at once and a detector, and the plan of batches."""
    declarations = []
    for text in (SENTIMENT.replace("max_items: 4", "max_items: 8"), DETECTION):
        declaration, problems = parse_declaration(text, source="endpoint.yaml")
        assert declaration is not None, problems
        declarations.append(declaration)
    text = PLANS.replace("tier: 0", "tier: 1").replace("plans:\n", f"plans:\n{BATCH_PLAN}")
    plans, problems = parse_plans(text, source="plans.yaml")
    assert plans is not None, problems
    return compile_catalog(declarations, plans)


def label_of(text: str) -> int:
    """What the model says of a text."""
    return sum(text.encode()) % 3


def answer_to(texts: list[str]) -> InferenceResponse:
    """The model's answer, as an endpoint writes it."""
    rows = [[0.8 if column == label_of(text) else 0.1 for column in range(3)] for text in texts]
    return InferenceResponse(
        (
            Tensor("label", "BYTES", (len(texts),), data=[LABELS[label_of(text)] for text in texts]),
            Tensor("probabilities", "FP32", (len(texts), 3), data=[share for row in rows for share in row]),
        )
    )


def texts_of(invocation: Invocation[list[Any]]) -> list[str]:
    """What a request asks for."""
    return list(invocation.request.inputs[0].data or [])


def model(invocation: Invocation[list[Any]]) -> tuple[float, InferenceResponse | HeadraceError]:
    """A model that refuses poison, and takes 2 ms and another for each text."""
    texts = texts_of(invocation)
    seconds = 0.002 + 0.001 * len(texts)
    if POISON in texts:
        return seconds, InvalidRequest("The model cannot take this.", code="input_refused")
    return seconds, answer_to(texts)


def failing(share: float, random: Random) -> Callable[[Invocation[list[Any]]], tuple[float, Any]]:
    """The model, of which a share of requests fails."""

    def respond(invocation: Invocation[list[Any]]) -> tuple[float, Any]:
        if random.random() < share:
            return 0.05, TargetUnavailable("The fake is down.")
        return model(invocation)

    return respond


def tweets(count: int) -> list[bytes]:
    """Lines of a file."""
    return [json.dumps({"custom_id": f"t{n}", "text": f"tweet {n}"}).encode() for n in range(count)]


@dataclass
class World:
    """See the module. `lines` are the file's; `per_shard` of them make a shard."""

    lines: list[bytes]
    per_shard: int = 1000
    options: Options = field(default_factory=lambda: Options("sentiment", "/v1/classifications"))
    respond: Callable[[Invocation[list[Any]]], tuple[float, Any]] = model
    duplicates: frozenset[int] = frozenset()
    caller: str = "premium"
    seed: int = 0
    catalog: Catalog = field(default_factory=batch_catalog)
    clock: FakeClock = field(default_factory=FakeClock)
    store: FakeObjects = field(default_factory=FakeObjects)
    table: FakeBatchTable = field(default_factory=FakeBatchTable)
    files: FakeFileTable = field(default_factory=FakeFileTable)
    notices: FakeNotices = field(default_factory=FakeNotices)
    traffic: FakeTraffic = field(default_factory=FakeTraffic)
    images: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Upload the file, begin the batch, plan it."""
        data = b"".join(line + b"\n" for line in self.lines)
        self.source = replace(SOURCE, size=len(data))
        self.sources = FakeSources({("inputs", SOURCE.key, "v1"): data})
        shards, at = [], 0
        for number, first in enumerate(range(0, len(self.lines), self.per_shard)):
            own = self.lines[first : first + self.per_shard]
            end = at + sum(len(line) + 1 for line in own)
            doubles = [line for line in range(first + 1, first + 1 + len(own)) if line in self.duplicates]
            records = sum(bool(line.strip()) for line in own)
            shards.append(Shard(number, at, end, first + 1, records, duplicates=bool(doubles)))
            if doubles:
                self.store.write(duplicates_key(TENANT, BATCH, number), json.dumps({"lines": doubles}).encode())
            at = end
        self.shards = tuple(shards)
        records = sum(shard.records for shard in shards)
        blank = len(self.lines) - records
        self.planned = Planned(
            Lines("jsonl", staged=False, size=len(data)),
            records, blank, len(self.duplicates), self.shards, "map", "few records",
        )  # fmt: skip
        self.store.write(plan_key(TENANT, BATCH), dump_plan(self.planned))
        caller = (("plan", self.caller), ("scopes", "invoke"), ("key_id", "k1"))
        self.table.create(
            Batch(
                TENANT, BATCH, self.clock.now, self.source, self.options, caller=caller, state="in_progress",
                started_at=self.clock.now, shards=len(shards), reason="few records",
            )
        )  # fmt: skip
        self.random = Random(self.seed)  # noqa: S311 - a world is the same for the same seed

    @property
    def batch(self) -> Batch:
        """The record as it is now."""
        return self.table.batches[TENANT, BATCH]

    def asker(self) -> AbstractContextManager[Asker]:
        """What asks."""
        return fake_asker(self.respond, self.clock)

    def scorer(self, **changes: Any) -> Scorer:
        """A scorer over this world's stores."""
        ports: dict[str, Any] = {
            "catalog": self.catalog,
            "records": self.table,
            "progress": self.table,
            "sources": self.sources,
            "store": self.store,
            "askers": self.asker,
            "traffic": self.traffic,
            "images": lambda _tenant, _endpoint: self.images.__getitem__,
            "clock": self.clock,
            "wall": self.clock,
            "uniform": self.random.random,
        }
        return Scorer(**{**ports, **changes})

    def finisher(self) -> Finisher:
        """What ends the batch."""
        return Finisher(
            catalog=self.catalog, records=self.table, files=self.files, notices=self.notices, store=self.store,
            bucket="batches", wall=self.clock,
        )  # fmt: skip

    def score_all(self, *, seconds: float = 900.0) -> None:
        """Every shard, until it is done."""
        for shard in self.shards:
            for _ in range(100):
                scored = self.scorer().run(TENANT, BATCH, shard, until_s=self.clock.now + seconds)
                if scored.state == "done":
                    break
                self.clock.now += scored.wait_s
            else:
                raise AssertionError("The shard is never done.")

    def results(self) -> list[dict[str, Any]]:
        """Lines of the results file."""
        return [json.loads(line) for line in self.store.objects[results_key(TENANT, BATCH)].splitlines()]

    def errors(self) -> list[dict[str, Any]]:
        """Lines of the errors file."""
        return [json.loads(line) for line in self.store.objects[errors_key(TENANT, BATCH)].splitlines()]

    def report(self) -> dict[str, Any]:
        """The report."""
        document: dict[str, Any] = json.loads(self.store.objects[report_key(TENANT, BATCH)])
        return document
