"""The Idempotency-Key on POST: the same request again gets the answer that was given, and runs nothing."""

from collections.abc import Awaitable, Callable

from functions.predict.call import IDEMPOTENCY_HEADER, Call
from functions.predict.lean import Response
from functions.predict.services import Services
from headrace.idempotency.keys import fingerprint
from headrace.idempotency.records import REPLAYED_HEADER, Replay
from headrace.limits import DEADLINE_MAX_MS

SCOPES = "scopes of the caller"
"""No header has such a name."""


async def answer_once(call: Call, services: Services, answer: Callable[[], Awaitable[Response]]) -> Response:
    """The answer to a request that has a key, or the one that was given to it before.

    Raises:
        Unauthenticated: keys belong to tenants, so the caller must be one.
        InvalidRequest: the header is no key.
        KeyReused: the key came with another request before.
        InProgress: the same request is being answered.
        StoreUnavailable: nobody knows whether it was answered, so it is not executed.
    """
    request = call.request
    key = request.headers[IDEMPOTENCY_HEADER]
    idempotency = services.idempotency()
    tenant = call.principal.tenant
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    body = await request.body()
    begun = idempotency.begin(
        tenant,
        key,
        fingerprint(
            request.method,
            path,
            content_type=request.headers.get("content-type", ""),
            body=body,
            # A replay is an answer: it is for callers who may ask what the first one asked.
            headers={**call.fingerprint_headers, SCOPES: " ".join(sorted(call.principal.scopes))},
        ),
        until_s=services.policy().wall() + DEADLINE_MAX_MS / 1000,
    )
    if isinstance(begun, Replay):
        call.record.update(tenant=tenant, replayed=True)
        return Response(begun.body, begun.status, headers={**dict(begun.headers), REPLAYED_HEADER: "true"})
    try:
        response = await answer()
    except BaseException:
        idempotency.abandon(begun)
        raise
    headers = {**dict(response.headers.items()), **call.answer_headers}
    idempotency.complete(begun, response.status_code, headers, bytes(response.body))
    return response
