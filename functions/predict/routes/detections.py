"""`POST /v1/detections`: an image in, as raw bytes, in base64 or by reference to S3; boxes out."""

import json
from base64 import b64decode
from binascii import Error as Base64Error

from functions.predict.bodies import check_declared_size, checked, media_type, read_body, read_json
from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.schemas.requests import Base64Image, DetectionOptions, DetectionRequest
from functions.predict.serve import serve
from functions.predict.services import Services
from headrace.catalog import Endpoint
from headrace.errors import InvalidRequest, UnsupportedMedia
from headrace.limits import PAYLOAD_MAX_BYTES
from headrace.tasks import object_detection
from headrace.tasks.contracts import OBJECT_DETECTION

RAW_TYPES = frozenset({*object_detection.IMAGE_TYPES, "application/octet-stream"})


async def detect(call: Call, services: Services) -> Response:
    """Find objects in one image."""
    principal = call.principal
    if media_type(call) in RAW_TYPES:
        options = _query_options(call)
        endpoint = services.catalog.for_task(OBJECT_DETECTION, options.model)
        principal.require_invoke(endpoint.name)
        image = await read_body(call)
    elif media_type(call) in {"", "application/json"}:
        body = await read_json(call, DetectionRequest)
        options = body
        endpoint = services.catalog.for_task(OBJECT_DETECTION, body.model)
        principal.require_invoke(endpoint.name)
        image = _image(call, services, body, endpoint)
    else:
        raise UnsupportedMedia(
            f"Send application/json, or the image itself as {', '.join(object_detection.IMAGE_TYPES)}.",
            field="content-type",
        )
    check_declared_size(call, endpoint)
    object_detection.check_image(image, limits=endpoint.limits, path="image")
    call.record.update(items=1, image_bytes=len(image))
    answer = serve(
        call,
        services,
        object_detection.request_for(
            image,
            threshold=options.threshold,
            max_detections=options.max_detections,
            max_pixels=endpoint.limits.max_pixels,
        ),
        endpoint=endpoint,
        read=object_detection.read,
        items=1,
    )
    found = answer.value
    document = {
        "id": f"det-{call.request_id}",
        "object": "detection",
        "model": endpoint.name,
        "served_by": answer.served_by,
        "degraded": answer.degraded or None,
        "image": {"width": found.width, "height": found.height},
        "detections": [
            {
                "label": item.label,
                "score": item.score,
                "box": dict(zip(("x_min", "y_min", "x_max", "y_max"), item.box, strict=True)),
            }
            for item in found.objects
        ],
    }
    return Response(json.dumps(document, ensure_ascii=False).encode(), media_type="application/json")


def _query_options(call: Call) -> DetectionOptions:
    query = call.request.query_params
    if len(query.multi_items()) != len(query):
        raise InvalidRequest("Send each query parameter once.", code="duplicate_parameter", field="query")
    return checked(DetectionOptions, dict(query))


def _image(call: Call, services: Services, body: DetectionRequest, endpoint: Endpoint) -> bytes:
    if isinstance(body.image, Base64Image):
        try:
            return b64decode(body.image.base64, validate=True)
        except (Base64Error, ValueError):
            raise InvalidRequest(
                "image.base64 must be standard base64 with padding.", code="invalid_base64", field="image.base64"
            ) from None
    remaining_s = call.deadline(endpoint).remaining_s(services.clock())
    return services.inputs.read(
        body.image.s3,
        tenant=call.principal.tenant,
        bytes_max=endpoint.limits.max_image_bytes or PAYLOAD_MAX_BYTES,
        timeout_s=remaining_s,
    )


ROUTES = (("POST", "/v1/detections", detect),)
