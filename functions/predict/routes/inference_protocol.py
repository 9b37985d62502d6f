"""`/v2`: the Open Inference Protocol, for its own clients, over the same ladder as `/v1`.

Sources: kserve/open-inference-protocol `inference_rest.md`; Triton's binary tensor data extension.
"""

import json
from dataclasses import replace
from typing import Any

from functions.predict.bodies import media_type, read_body
from functions.predict.call import Call
from functions.predict.lean import Response
from functions.predict.serve import check_hosted, serve
from functions.predict.services import Services
from headrace import oip
from headrace.catalog import Endpoint
from headrace.errors import InvalidRequest, UnsupportedMedia
from headrace.inference import InferenceRequest, InferenceResponse, check_inputs, check_outputs, plain
from headrace.limits import PAYLOAD_MAX_BYTES
from headrace.tasks import object_detection, text_classification
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION

_LENGTH_DIGITS_MAX = 8
_BODY_TYPES = frozenset({"", "application/json", "application/octet-stream"})


async def server(_call: Call, _services: Services) -> Response:
    """What this server is."""
    return _json({"name": "headrace", "version": "1.0", "extensions": ["binary_tensor_data"]})


async def live(_call: Call, _services: Services) -> Response:
    """Whether this function runs; that it answers says so."""
    return _json({"live": True})


async def ready(_call: Call, _services: Services) -> Response:
    """Whether it can take requests: it has no state to wait for, and a ladder when the endpoint is away."""
    return _json({"ready": True})


async def metadata(call: Call, services: Services) -> Response:
    """A model's tensors and versions."""
    call.principal.require_read()
    endpoint = _endpoint(call, services)
    return _json(
        {
            "name": endpoint.name,
            "versions": [version.name for version in endpoint.hosted],
            "platform": "headrace",
            "inputs": [{"name": s.name, "datatype": s.datatype, "shape": list(s.shape)} for s in endpoint.inputs],
            "outputs": [{"name": s.name, "datatype": s.datatype, "shape": list(s.shape)} for s in endpoint.outputs],
        }
    )


async def model_ready(call: Call, services: Services) -> Response:
    """Whether a model is declared."""
    call.principal.require_read()
    return _json({"name": _endpoint(call, services).name, "ready": True})


async def infer(call: Call, services: Services) -> Response:
    """Tensors in, tensors out."""
    principal = call.principal
    endpoint = services.catalog.endpoint(call.request.path_params["model"])
    principal.require_invoke(endpoint.name)
    in_path = call.request.path_params.get("version")
    check_hosted(endpoint, in_path or call.pinned)
    body = await read_body(call, bytes_max=min(endpoint.limits.max_payload_bytes, PAYLOAD_MAX_BYTES))
    request = oip.read_request(body, head_bytes=_head_bytes(call), bytes_max=PAYLOAD_MAX_BYTES)
    _check(request, endpoint)
    if endpoint.limits.max_pixels is not None:
        request = replace(request, parameters={**request.parameters, "max_pixels": endpoint.limits.max_pixels})
    call.record["items"] = request.inputs[0].shape[0] if request.inputs[0].shape else 1
    answer = serve(
        call,
        services,
        request,
        endpoint=endpoint,
        read=lambda response: _checked_answer(response, request, endpoint),
        items=call.record["items"],
        text_chars=_text_chars(request, endpoint),
        pinned=in_path,
        binary_output=_wants_binary(request),
    )
    served = answer.served_by.partition("/")[2]
    head_bytes, content = oip.write_response(
        answer.value, model_name=endpoint.name, model_version=served, request_id=request.id
    )
    if head_bytes is None:
        return Response(content, media_type="application/json")
    return Response(content, media_type="application/octet-stream", headers={oip.HEAD_LENGTH_HEADER: str(head_bytes)})


def _endpoint(call: Call, services: Services) -> Endpoint:
    endpoint = services.catalog.endpoint(call.request.path_params["model"])
    if (version := call.request.path_params.get("version")) is not None:
        check_hosted(endpoint, version)
    return endpoint


def _text_chars(request: InferenceRequest, endpoint: Endpoint) -> int | None:
    if endpoint.task != TEXT_CLASSIFICATION:
        return None
    return max(len(element.decode()) for element in oip.bytes_elements(request.inputs[0]))


def _head_bytes(call: Call) -> int | None:
    content_type = call.request.headers.get("content-type", "")
    value = call.request.headers.get(oip.HEAD_LENGTH_HEADER)
    if value is None:
        value = oip.head_length(content_type)
        if value is None and media_type(call) not in _BODY_TYPES:
            raise UnsupportedMedia("Send application/json, or the binary tensor extension.", field="content-type")
    if value is None:
        return None
    if not (value.isascii() and value.isdigit()) or len(value) > _LENGTH_DIGITS_MAX:
        raise InvalidRequest(
            "Inference-Header-Content-Length must be a whole number.",
            code="wrong_head_length",
            field=oip.HEAD_LENGTH_HEADER,
        )
    return int(value)


def _check(request: InferenceRequest, endpoint: Endpoint) -> None:
    check_inputs(request, endpoint.inputs, items_max=endpoint.limits.max_items)
    promised = {spec.name for spec in endpoint.outputs}
    for index, output in enumerate(request.outputs):
        if output["name"] not in promised:
            raise InvalidRequest(
                f"Ask for any of these outputs: {', '.join(sorted(promised))}.",
                code="unknown_output",
                field=f"outputs[{index}].name",
            )
    if endpoint.task == TEXT_CLASSIFICATION:
        text_classification.check_texts(request.inputs[0], limits=endpoint.limits, path="inputs[0].data")
    if endpoint.task == OBJECT_DETECTION:
        image = object_detection.wire_image(request.inputs[0], path="inputs[0].data")
        object_detection.check_image(image, limits=endpoint.limits, path="inputs[0].data")


def _checked_answer(response: InferenceResponse, request: InferenceRequest, endpoint: Endpoint) -> InferenceResponse:
    wanted = frozenset(output["name"] for output in request.outputs)
    check_outputs(response, endpoint.outputs, wanted=wanted)
    if not wanted:  # A task's answer is judged as a whole; a part of it only by its tensors.
        if endpoint.task == TEXT_CLASSIFICATION:
            text_classification.read(plain(response), endpoint=endpoint, items=request.inputs[0].shape[0])
        elif endpoint.task == OBJECT_DETECTION:
            object_detection.read(plain(response))
    return response


def _wants_binary(request: InferenceRequest) -> bool:
    return bool(request.parameters.get("binary_data_output")) or any(
        output.get("parameters", {}).get("binary_data") for output in request.outputs
    )


def _json(document: dict[str, Any]) -> Response:
    return Response(json.dumps(document, ensure_ascii=False).encode(), media_type="application/json")


_MODEL = "/v2/models/{model}"
_VERSIONED = "/v2/models/{model}/versions/{version}"
ROUTES = (
    ("GET", "/v2", server),
    ("GET", "/v2/health/live", live),
    ("GET", "/v2/health/ready", ready),
    ("GET", _MODEL, metadata),
    ("GET", _VERSIONED, metadata),
    ("GET", f"{_MODEL}/ready", model_ready),
    ("GET", f"{_VERSIONED}/ready", model_ready),
    ("POST", f"{_MODEL}/infer", infer),
    ("POST", f"{_VERSIONED}/infer", infer),
)
