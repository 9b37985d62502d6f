"""Batches as requests and answers. Imported when the first of them comes: few requests are about batches."""

from typing import Any

from functions.predict.bodies import read_json
from functions.predict.call import IDEMPOTENCY_HEADER, Call
from functions.predict.lean import Response
from functions.predict.pages import JSON, batches_of, json_of, list_of, page_of
from functions.predict.schemas.batches import BatchRequest
from functions.predict.serve import within_limits
from functions.predict.services import Services
from functions.predict.uploading import PLACE_S
from headrace.batches.finishing.estimate import Estimate, estimate
from headrace.batches.layout import report_key
from headrace.batches.ordering.document import batch_document
from headrace.batches.ordering.offers import Batches, begin, cancel, look, newest, redrive
from headrace.batches.ordering.orders import Order
from headrace.batches.ordering.views import Progress, progress
from headrace.batches.scoring.posing import items_max_of
from headrace.batches.states import OVER, Batch, is_id
from headrace.errors import UnknownTarget

LIST_DEFAULT = 20
"""As OpenAI's API has it."""


async def create(call: Call, services: Services) -> Response:
    """Begin work on a file.

    Raises:
        HeadraceError: as `headrace.batches.ordering.offers.begin` does, and LimitExceeded.
    """
    batches = batches_of(services)
    with within_limits(call, services, seconds=PLACE_S):
        asked = await read_json(call, BatchRequest)
        batch = begin(
            batches,
            call.principal,
            Order(
                url=asked.endpoint or "",
                model=asked.model or "",
                version=asked.version or "",
                format=asked.format,
                method=asked.method,
                degraded=asked.degraded,
                completion_window=asked.completion_window,
                parameters=asked.parameters or {},
                webhook=asked.webhook or "",
                metadata=asked.metadata or {},
            ),
            input_file_id=asked.input_file_id,
            once=call.request.headers.get(IDEMPOTENCY_HEADER, ""),
        )
    return _answer(call, services, batch)


def show_all(call: Call, services: Services) -> Response:
    """The caller's batches, the newest first. Raises InvalidRequest, StoreUnavailable."""
    batches = batches_of(services)
    limit, after = page_of(call, default=LIST_DEFAULT, is_id=is_id)
    found, more = newest(batches, call.principal, limit=limit, after=after)
    call.record["tenant"] = call.principal.tenant
    return list_of([_document(batches, batch) for batch in found], more=more)


def show(call: Call, services: Services) -> Response:
    """One batch. Raises UnknownTarget, StoreUnavailable."""
    return _answer(call, services, look(batches_of(services), call.principal, _id(call)))


def stop(call: Call, services: Services) -> Response:
    """End a batch; what is finished is kept. Raises UnknownTarget, InvalidRequest, StoreUnavailable, LimitExceeded."""
    with within_limits(call, services, seconds=PLACE_S):
        batch = cancel(batches_of(services), call.principal, _id(call))
    return _answer(call, services, batch)


def again(call: Call, services: Services) -> Response:
    """Finish what is missing in a batch that failed.

    Raises:
        LimitExceeded: and what `headrace.batches.ordering.offers.redrive` raises.
    """
    with within_limits(call, services, seconds=PLACE_S):
        batch = redrive(batches_of(services), call.principal, _id(call))
    return _answer(call, services, batch)


def report(call: Call, services: Services) -> Response:
    """What became of a batch as a whole. Raises UnknownTarget, StoreUnavailable."""
    batches = batches_of(services)
    batch = look(batches, call.principal, _id(call))
    body = batches.objects.read(report_key(batch.tenant, batch.batch_id)) if batch.state in OVER else None
    if body is None:
        raise UnknownTarget("There is no report of this batch, or not yet.", code="report_not_found")
    call.record.update(tenant=batch.tenant, batch=batch.batch_id)
    return Response(body, media_type=JSON, headers={"cache-control": "no-store"})


def _id(call: Call) -> str:
    batch_id: str = call.request.path_params["batch"]
    return batch_id


def _answer(call: Call, services: Services, batch: Batch) -> Response:
    call.record.update(tenant=batch.tenant, batch=batch.batch_id, endpoint=batch.options.endpoint)
    return json_of(_document(batches_of(services), batch))


def _document(batches: Batches, batch: Batch) -> dict[str, Any]:
    found = progress(batches.progresses, batch)
    return batch_document(batch, found, _estimate(batches, batch, found))


def _estimate(batches: Batches, batch: Batch, found: Progress) -> Estimate | None:
    """From when it began, all of its runs and pauses together; None while nothing has begun."""
    endpoint = batches.catalog.endpoints.get(batch.options.endpoint)
    if endpoint is None or not batch.started_at:
        return None
    seconds = (batch.ended_at or batches.wall()) - batch.started_at
    return estimate(found.counts, seconds=seconds, endpoint=endpoint, items_max=items_max_of(endpoint))
