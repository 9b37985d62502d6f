"""`POST /v1/classifications`: texts in, a label and a score for each out."""

import json

from functions.predict.bodies import check_declared_size, read_json
from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.schemas.requests import ClassificationRequest
from functions.predict.serve import serve
from functions.predict.services import Services
from headrace.errors import InvalidRequest
from headrace.tasks import text_classification
from headrace.tasks.contracts import TEXT_CLASSIFICATION


async def classify(call: Call, services: Services) -> Response:
    """Classify one text or several."""
    principal = call.principal
    body = await read_json(call, ClassificationRequest)
    endpoint = services.catalog.for_task(TEXT_CLASSIFICATION, body.model)
    principal.require_invoke(endpoint.name)
    check_declared_size(call, endpoint)
    texts = [body.input] if isinstance(body.input, str) else body.input
    if len(texts) > endpoint.limits.max_items:
        raise InvalidRequest(
            f"Send at most {endpoint.limits.max_items} texts in one request.", code="too_many_items", field="input"
        )
    request = text_classification.request_for(texts)
    text_classification.check_texts(request.inputs[0], limits=endpoint.limits, path="input")
    call.record["items"] = len(texts)
    answer = serve(
        call,
        services,
        request,
        endpoint=endpoint,
        read=lambda response: text_classification.read(response, endpoint=endpoint, items=len(texts)),
        items=len(texts),
        text_chars=max(map(len, texts)),
    )
    document = {
        "id": f"cls-{call.request_id}",
        "object": "classification",
        "model": endpoint.name,
        "served_by": answer.served_by,
        "degraded": answer.degraded or None,
        "results": [
            {"index": index, "label": result.label, "score": result.score, "scores": result.scores}
            for index, result in enumerate(answer.value)
        ],
    }
    return Response(json.dumps(document, ensure_ascii=False).encode(), media_type="application/json")


ROUTES = (("POST", "/v1/classifications", classify),)
