"""Batches as callers meet them: begun, looked at, listed, cancelled and redriven.

A batch is written down before its execution is started. When the start fails the caller hears of it, and the record is
there: the same request again (with its Idempotency-Key), a look at it, or its cancellation starts the execution, which
its name allows once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from headrace.batches.bounds import BATCHES_AT_ONCE_MAX, INPUT_BYTES_MAX
from headrace.batches.ordering.orders import Order, format_for, options_of
from headrace.batches.ordering.views import ending, redrivable, told
from headrace.batches.states import (
    OVER,
    Batch,
    Pairs,
    Source,
    id_of_request,
    is_id,
    may_see,
    moved,
    new_id,
)
from headrace.batches.storage import BatchLists, BatchRecords, Objects, Progresses
from headrace.catalog import Catalog
from headrace.errors import (
    HeadraceError,
    InvalidRequest,
    LimitExceeded,
    PayloadTooLarge,
    StoreUnavailable,
    UnknownTarget,
)
from headrace.files.files import File
from headrace.files.files import is_id as is_file_id
from headrace.files.uploading import PURPOSE, Files
from headrace.files.uploading import look as look_at_file
from headrace.identity import Principal

RESTART_AFTER_S = 60.0
"""A batch that is still to be planned after so long may never have been started."""
KEY_KEPT_S = 86_400.0
"""How long an Idempotency-Key stands for its batch."""
LOOK_BACK_MAX = 200
"""Batches that are looked at to count those that are not over."""
MOVES_MAX = 5
"""Tries to move a record that others move too."""
RETRY_LIMIT_S = 60.0


class Machine(Protocol):
    """What works batches off."""

    def start(self, name: str, *, tenant: str, batch_id: str) -> None:
        """Start the execution of this name, unless it was started before. Raises StoreUnavailable."""


class TransformJobs(Protocol):
    """The jobs that score some of the batches."""

    def stop(self, batch: Batch) -> None:
        """End the job of the batch's present run, if there is one and it runs. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Batches:
    """What accepting and looking at batches needs. `wall` is seconds since the epoch.

    `loopback` says whether webhooks may be on this machine. Only where batches are cancelled are `transforms` needed.
    """

    files: Files
    records: BatchRecords
    lists: BatchLists
    progresses: Progresses
    objects: Objects
    machine: Machine
    catalog: Catalog
    wall: Callable[[], float]
    random_bytes: Callable[[int], bytes]
    loopback: bool = False
    transforms: TransformJobs | None = None


def begin(batches: Batches, principal: Principal, order: Order, *, input_file_id: str, once: str = "") -> Batch:
    """A new batch over one of the caller's files, with its execution started.

    Args:
        batches: ports.
        principal: who asks; the batch does what it does as this caller.
        order: what is asked for.
        input_file_id: the file.
        once: the request's Idempotency-Key: the same one for the same order is the same batch.

    Raises:
        InvalidRequest: the order or the file cannot be used.
        UnknownTarget: there is no such file, model or version.
        Forbidden: the caller may not use the model.
        LimitExceeded: the tenant has too many batches that are not over.
        StoreUnavailable: it could not be written down, or not started.
    """
    now = batches.wall()
    options = options_of(order, catalog=batches.catalog, principal=principal, loopback=batches.loopback)
    file = _input(batches, principal, input_file_id)
    kind, gzip = format_for(file.filename, order.format)
    source = Source(file.bucket, file.key, file.version, file.size, kind, gzip)
    batch_id = new_id(batches.random_bytes)
    if once:
        asked = json.dumps([asdict(options), asdict(source), caller_of(principal)])
        batch_id = id_of_request(principal.tenant, once, asked)
        standing = batches.records.get(principal.tenant, batch_id)
        if standing is not None and now < standing.created_at + KEY_KEPT_S:
            return started(batches, standing)
        if standing is not None:
            batch_id = new_id(batches.random_bytes)
    check_open(batches, principal.tenant, at_once_max=BATCHES_AT_ONCE_MAX)
    batch = Batch(
        tenant=principal.tenant,
        batch_id=batch_id,
        created_at=now,
        source=source,
        options=options,
        caller=caller_of(principal),
        input_file_id=file.file_id,
    )
    if not batches.records.create(batch):
        batch = batches.records.get(principal.tenant, batch_id) or batch
    return started(batches, batch)


def look(batches: Batches, principal: Principal, batch_id: str) -> Batch:
    """The caller's batch, as callers are told.

    Raises:
        UnknownTarget: this caller has no such batch.
        StoreUnavailable: the state store did not answer.
    """
    batch, now = _own(batches, principal, batch_id), batches.wall()
    with suppress(HeadraceError):  # whoever looks next tries again
        if name := ending(batch, now=now):
            batches.machine.start(name, tenant=batch.tenant, batch_id=batch.batch_id)
        elif batch.state == "validating" and now >= batch.created_at + RESTART_AFTER_S:
            started(batches, batch)
    return told(batch, now=now)


def newest(batches: Batches, principal: Principal, *, limit: int, after: str = "") -> tuple[list[Batch], bool]:
    """The caller's newest batches, and whether there are more behind them.

    Raises:
        StoreUnavailable: they could not be listed.
    """
    found: list[Batch] = []
    now = batches.wall()
    while True:
        page = batches.lists.newest(principal.tenant, limit=limit + 1, after=after)
        found += [told(batch, now=now) for batch in page if may_see(batch, principal) and now < batch.expires_at]
        if len(found) > limit or len(page) <= limit:
            return found[:limit], len(found) > limit
        after = page[-1].batch_id


def cancel(batches: Batches, principal: Principal, batch_id: str) -> Batch:
    """No further record of the batch is begun; what is finished by then is kept. Asking again changes nothing.

    Raises:
        UnknownTarget: this caller has no such batch.
        InvalidRequest: it is over.
        StoreUnavailable: it may have been cancelled all the same.
    """

    def step(batch: Batch) -> Batch:
        if batch.state in {"cancelling", "cancelled", "finalizing"}:
            return batch
        if batch.state in OVER:
            raise InvalidRequest("The batch is over: there is nothing to cancel.", code="batch_over")
        return moved(batch, "cancelling", now=batches.wall())

    batch = _move(batches, principal, batch_id, step)
    if batch.state == "cancelling" and batch.method == "transform" and batches.transforms is not None:
        batches.transforms.stop(batch)  # nobody in it looks at the record, and its instances cost
    # One that never began, or that a redrive could not begin, ends by its execution like any other.
    begun = batch.started_at and not batch.redrives
    return started(batches, batch) if batch.state == "cancelling" and not begun else batch


def redrive(batches: Batches, principal: Principal, batch_id: str) -> Batch:
    """Begin again with what is missing in a batch that failed. Asking again while it runs changes nothing.

    Raises:
        UnknownTarget: this caller has no such batch.
        InvalidRequest: nothing of it is missing, or its file cannot be used.
        Forbidden: the caller may not use its model any more.
        LimitExceeded: the tenant has too many batches that are not over.
        StoreUnavailable: it may have been begun all the same.
    """

    def step(batch: Batch) -> Batch:
        if batch.redrives and batch.state == "in_progress":
            return batch
        if not redrivable(batch):
            raise InvalidRequest("Only a batch that failed on its way can be redriven.", code="not_redrivable")
        principal.require_invoke(batch.options.endpoint)
        check_open(batches, batch.tenant, at_once_max=BATCHES_AT_ONCE_MAX)
        now = batches.wall()
        again = moved(batch, "in_progress", now=now)
        return replace(again, redrives=batch.redrives + 1, redriven_at=now, problems=())

    return started(batches, _move(batches, principal, batch_id, step))


def caller_of(principal: Principal) -> Pairs:
    """Who asked, as the authorizer would say it."""
    scopes = " ".join(sorted(principal.scopes))
    return (("plan", principal.plan), ("scopes", scopes), ("key_id", principal.key_id))


def started(batches: Batches, batch: Batch) -> Batch:
    """The batch, with its execution started unless it is over.

    Raises:
        StoreUnavailable: it could not be started.
    """
    if batch.state not in OVER:
        batches.machine.start(batch.execution, tenant=batch.tenant, batch_id=batch.batch_id)
    return batch


def check_open(batches: Batches, tenant: str, *, at_once_max: int) -> None:
    """Refuse another batch of a tenant that has `at_once_max` under way.

    Raises:
        LimitExceeded: it has.
        StoreUnavailable: they could not be counted.
    """
    now = batches.wall()
    newest = batches.lists.newest(tenant, limit=LOOK_BACK_MAX)
    if sum(told(batch, now=now).state not in OVER for batch in newest) < at_once_max:
        return
    refusal = LimitExceeded(
        f"At most {at_once_max} batches may be under way: wait for one to end, or cancel one.",
        code="too_many_batches",
        retry_after_s=RETRY_LIMIT_S,
    )
    refusal.limit = at_once_max
    raise refusal


def _input(batches: Batches, principal: Principal, file_id: str) -> File:
    if not is_file_id(file_id):
        raise UnknownTarget("There is no such file.", code="file_not_found")
    file = look_at_file(batches.files, principal, file_id)
    where = "input_file_id"
    if file.purpose != PURPOSE:
        raise InvalidRequest(f"The file's purpose must be {PURPOSE}.", code="wrong_purpose", field=where)
    if file.state == "awaiting":
        raise InvalidRequest("The file has not been uploaded yet.", code="file_not_uploaded", field=where)
    if file.size < 1:
        raise InvalidRequest("The file is empty.", code="empty_file", field=where)
    if file.size > INPUT_BYTES_MAX:
        raise PayloadTooLarge(f"A file may have at most {INPUT_BYTES_MAX} bytes.", code="file_too_large", field=where)
    return file


def _own(batches: Batches, principal: Principal, batch_id: str) -> Batch:
    batch = batches.records.get(principal.tenant, batch_id) if is_id(batch_id) else None
    if batch is None or not may_see(batch, principal) or batches.wall() >= batch.expires_at:
        raise UnknownTarget("There is no such batch, or it is too old to be kept.", code="batch_not_found")
    return batch


def _move(batches: Batches, principal: Principal, batch_id: str, step: Callable[[Batch], Batch]) -> Batch:
    """The batch after `step`, which says where it goes from what it is now."""
    for _ in range(MOVES_MAX):
        before = _own(batches, principal, batch_id)
        after = step(before)
        if after is before or batches.records.move(before, after):
            return after
    raise StoreUnavailable("The batch moves too fast: try again.")
