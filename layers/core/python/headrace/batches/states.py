"""A batch as it is written down: what it works on, how it was asked for, how far it is, and where it may go from there.

    validating ──► in_progress ──► finalizing ──► completed    every record has its result or its error
        │               │   ▲           ├──────► failed        the file cannot be used, or shards are missing
        │               │   └─ redrive ─┤           │
        └──► cancelling ┴───────────────┼──────► cancelled     what was finished by then is kept
                                        └──────► expired       the same, after `AGE_MAX_S`

The names of the states are those of OpenAI's batch API, so that its SDK understands them. A record moves only from the
very `revision` that the mover has read. A batch that failed for missing shards goes back to `in_progress` when it is
redriven.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Literal

from headrace.identity import Principal

BatchState = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "cancelling", "cancelled", "expired"
]
OVER: frozenset[BatchState] = frozenset({"completed", "failed", "cancelled", "expired"})

Format = Literal["jsonl", "csv", "parquet", "manifest"]
Method = Literal["map", "transform"]
Pairs = tuple[tuple[str, str], ...]

ID_BYTES = 16
AGE_MAX_S = 86_400.0
"""What is not done after a day is ended, and its finished part kept (`completion_window` 24h)."""
KEPT_S = 30 * 86_400.0
"""How long record, report, results and errors can be read."""
PROBLEMS_MAX = 20
"""Problems of the file as a whole that are told; each record's own are in the errors file, all of them."""
END_MARK = "-end"
"""Behind a run's name, and before a number: an execution that only ends what nothing else ends any more."""
BATCH_PLAN = "batch"
"""The plan of `plans.yaml` whose tier, concurrency and rate every batch runs under; budgets stay the caller's."""

_ID = re.compile(r"batch_[A-Za-z0-9_-]{22}")


@dataclass(frozen=True, slots=True)
class Source:
    """The file: an object at one version, so that one that is replaced meanwhile changes nothing.

    `size` is in bytes. `gzip` says that the bytes are compressed.
    """

    bucket: str
    key: str
    version: str
    size: int
    format: Format
    gzip: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How the batch was asked for.

    Args:
        endpoint: the model's name in the catalog.
        url: the path that each record is a request to, such as `/v1/classifications`.
        version: a pinned version, or empty.
        method: `auto` lets the plan choose.
        degraded: whether stand-ins may answer (marked as such) when the endpoint does not.
        parameters: as texts, those of the task that every record gets unless it says otherwise.
        webhook: where the end is told, or empty.
        metadata: the caller's own, given back as it came.
    """

    endpoint: str
    url: str
    version: str = ""
    method: Literal["auto", "map", "transform"] = "auto"
    degraded: bool = True
    parameters: Pairs = ()
    webhook: str = ""
    metadata: Pairs = ()


@dataclass(frozen=True, slots=True)
class Counts:
    """Records: `total` as planned, and how many of them are over."""

    total: int = 0
    results: int = 0
    errors: int = 0
    degraded: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(
            self.total + other.total,
            self.results + other.results,
            self.errors + other.errors,
            self.degraded + other.degraded,
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the file as a whole, or a part of it, could not be used."""

    code: str
    message: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch. Times are seconds since the epoch, 0 for what has not happened.

    `caller` is the authorizer's context (`plan`, `scopes`, `key_id`): what the batch does, it does as this caller.
    `shards` is their number. `counts` are final once the batch is over; until then progress is summed from its shards.
    `reason` says why the plan chose `method`. `redrives` counts how often it was begun again.
    """

    tenant: str
    batch_id: str
    created_at: float
    source: Source
    options: Options
    caller: Pairs = ()
    input_file_id: str = ""
    state: BatchState = "validating"
    method: Method = "map"
    reason: str = ""
    shards: int = 0
    counts: Counts = field(default_factory=Counts)
    problems: tuple[Problem, ...] = ()
    output_file_id: str = ""
    error_file_id: str = ""
    started_at: float = 0.0
    finalizing_at: float = 0.0
    cancelling_at: float = 0.0
    ended_at: float = 0.0
    redrives: int = 0
    revision: int = 0
    redriven_at: float = 0.0

    @property
    def expires_at(self) -> float:
        """When the record and its files may be forgotten."""
        return self.created_at + KEPT_S

    @property
    def due_at(self) -> float:
        """When it is ended, done or not: a day after it was created, or redriven."""
        return (self.redriven_at or self.created_at) + AGE_MAX_S

    @property
    def execution(self) -> str:
        """The name of its execution: the same for the same run, so that starting it twice starts it once."""
        return self.batch_id if not self.redrives else f"{self.batch_id}-r{self.redrives}"

    def ran_as(self, execution: str) -> bool:
        """Whether an execution belongs to the present run: it works the batch off, or was begun to end it."""
        return execution == self.execution or execution.startswith(f"{self.execution}{END_MARK}")


def new_id(random_bytes: Callable[[int], bytes]) -> str:
    """An id that cannot be guessed."""
    return _id_of(random_bytes(ID_BYTES))


def id_of_object(bucket: str, key: str, version: str) -> str:
    """The id of the batch that an uploaded object starts: the event may come twice, the batch is one."""
    digest = blake2b(f"{bucket}\0{key}\0{version}".encode(), digest_size=ID_BYTES, person=b"headrace-batch")
    return _id_of(digest.digest())


def id_of_request(tenant: str, key: str, order: str) -> str:
    """The id of the batch that an Idempotency-Key stands for: the same key and order are the same batch."""
    digest = blake2b(f"{tenant}\0{key}\0{order}".encode(), digest_size=ID_BYTES, person=b"headrace-once")
    return _id_of(digest.digest())


def is_id(text: str) -> bool:
    """Whether it can be a batch's id: anything else is not looked up."""
    return _ID.fullmatch(text) is not None


def may_see(batch: Batch, principal: Principal) -> bool:
    """Whether a caller may know of the batch: its tenant's keys for every model, and the very key that it came from."""
    own = dict(batch.caller).get("key_id", "")
    may = principal.owns(own) and principal.may_invoke(batch.options.endpoint)
    return batch.tenant == principal.tenant and may


def moved(batch: Batch, state: BatchState, *, now: float) -> Batch:
    """The batch in another state, with the moment written down and the next revision."""
    after = replace(batch, state=state, revision=batch.revision + 1)
    match state:
        case "in_progress":
            return replace(after, started_at=batch.started_at or now, finalizing_at=0.0, ended_at=0.0)
        case "finalizing":
            return replace(after, finalizing_at=now)
        case "cancelling":
            return replace(after, cancelling_at=now)
        case _:
            return replace(after, ended_at=now)


def ended(batch: Batch, *, whole: bool) -> BatchState:
    """The state that a finished run leads to: `whole` when every record has its result or error."""
    if batch.state in {"cancelling", "cancelled"}:
        return "completed" if whole else "cancelled"
    if batch.state == "expired":
        return "completed" if whole else "expired"
    return "completed" if whole else "failed"


def _id_of(data: bytes) -> str:
    return f"batch_{urlsafe_b64encode(data).decode().rstrip('=')}"
