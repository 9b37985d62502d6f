"""What one record asks of its model, checked as the online route checks it, and how several ask in one request.

A record is bare (a row of a table, or a line of plain JSONL: `input` or `text`, or `image`, and whatever else its owner
keeps beside it) or a request of OpenAI's batch shape, whose body is exactly what the route of its `url` takes. Texts of
several records travel in one request; an image, and a request of the Open Inference Protocol, travels alone.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from sys import float_info
from typing import Any

from headrace import oip
from headrace.batches.reading.records import Bad, Record
from headrace.batches.states import Options
from headrace.catalog import Endpoint
from headrace.errors import HeadraceError, InvalidRequest, UnknownTarget
from headrace.inference import InferenceRequest, Tensor, check_inputs
from headrace.limits import PAYLOAD_MAX_BYTES
from headrace.tasks import object_detection, text_classification
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION
from headrace.tasks.object_detection import DETECTIONS_DEFAULT, DETECTIONS_MAX, THRESHOLD_DEFAULT
from headrace.tensors import BYTES

PROTOCOL_PREFIX = "/v2/"
_OF_CLASSIFICATION = frozenset({"input", "model"})
_OF_DETECTION = frozenset({"image", "model", "threshold", "max_detections"})

LoadImage = Callable[[str], bytes]
"""An object by its `s3://` address; raises HeadraceError."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One record, ready to be asked. `several` says that it lists its texts, and so will its answer.

    Either `texts` hold what is asked, or `request` is the whole of it. `size` is about the bytes that it adds to a
    request, `chars` those of its longest text.
    """

    line: int
    custom_id: str | None
    openai: bool
    items: int = 1
    several: bool = False
    texts: list[str] | None = None
    request: InferenceRequest | None = None
    chars: int | None = None
    size: int = 0


def needs_loading(record: Record, *, endpoint: Endpoint) -> bool:
    """Whether asking this record reads an object first, which takes its time."""
    image = record.body.get("image")
    return endpoint.task == OBJECT_DETECTION and isinstance(image, dict) and "s3" in image


def ask_of(record: Record, *, endpoint: Endpoint, options: Options, image: LoadImage) -> Ask | Bad:
    """What the record asks, or why it cannot be asked; the latter is its owner's to mend.

    Args:
        record: as it was read.
        endpoint: what the batch asks; a record that names another model is bad.
        options: the batch's, whose parameters hold for records that say nothing else.
        image: reads the object that a record names; `needs_loading` tells beforehand.

    Raises:
        StoreUnavailable, NothingServed: an image could not be read just now.
    """
    try:
        _check_shape(record, endpoint, options)
        if options.url.startswith(PROTOCOL_PREFIX):
            return _protocol(record, endpoint)
        if endpoint.task == TEXT_CLASSIFICATION:
            return _classification(record, endpoint)
        return _detection(record, endpoint, options, image)
    except (InvalidRequest, UnknownTarget) as error:
        return bad(record, error)
    except HeadraceError as error:
        if error.code == "object_forbidden":
            return bad(record, error)
        raise


def bad(record: Record | Bad, error: HeadraceError) -> Bad:
    """The record with the error that it ends in."""
    field = getattr(error, "field", None) or ""
    return Bad(record.line, record.end, record.custom_id, error.code, error.message, field)


def joined(asks: Sequence[Ask]) -> InferenceRequest:
    """One request for several records that all have texts, or for one that has not."""
    first = asks[0]
    if first.request is not None:
        return first.request
    return text_classification.request_for([text for ask in asks for text in ask.texts or ()])


def as_text(request: InferenceRequest) -> bytes:
    """A request as one line of JSON, for what cannot carry raw bytes: an image goes in base64."""
    inputs = tuple(
        Tensor(
            tensor.name,
            tensor.datatype,
            tensor.shape,
            data=[b64encode(each).decode() for each in oip.bytes_elements(tensor)],
            parameters={**tensor.parameters, "content_type": "base64"},
        )
        if tensor.raw is not None and tensor.datatype == BYTES
        else tensor
        for tensor in request.inputs
    )
    return oip.write_request(replace(request, inputs=inputs))[1]


def _check_shape(record: Record, endpoint: Endpoint, options: Options) -> None:
    if record.openai and record.url != options.url:
        raise InvalidRequest("url must be the path that the batch is for.", code="wrong_url", field="url")
    if options.url.startswith(PROTOCOL_PREFIX):
        return
    if endpoint.task not in {TEXT_CLASSIFICATION, OBJECT_DETECTION}:
        raise InvalidRequest("Send requests of the Open Inference Protocol to this model.", code="wrong_url")
    model = record.body.get("model")
    if record.openai and model is not None and model != endpoint.name:
        raise InvalidRequest(
            "A batch asks one model: leave model out, or name that of the batch.", code="wrong_model", field="model"
        )


def _classification(record: Record, endpoint: Endpoint) -> Ask:
    body = record.body
    field = "input" if record.openai or "input" in body else "text"
    if record.openai:
        _check_fields(body, _OF_CLASSIFICATION)
    asked = body.get(field)
    several = isinstance(asked, list)
    texts: list[Any] = asked if isinstance(asked, list) else [asked]
    if not texts or not all(type(text) is str for text in texts):
        code = "missing_text" if field not in body else "wrong_type"
        raise InvalidRequest(f"{field} must be a text, or a list of them.", code=code, field=field)
    if len(texts) > endpoint.limits.max_items:
        raise InvalidRequest(
            f"Send at most {endpoint.limits.max_items} texts in one record.", code="too_many_items", field=field
        )
    longest = endpoint.limits.max_text_chars
    chars = size = 0
    for index, text in enumerate(texts):
        path = f"{field}[{index}]" if several else field
        if not text.strip():
            raise InvalidRequest("Text must not be empty.", code="empty_text", field=path)
        if longest is not None and len(text) > longest:
            raise InvalidRequest(f"Text may have at most {longest} characters.", code="text_too_long", field=path)
        chars = max(chars, len(text))
        size += len(text) + 4
    return Ask(record.line, record.custom_id, record.openai, len(texts), several, texts, None, chars, size)


def _detection(record: Record, endpoint: Endpoint, options: Options, load: LoadImage) -> Ask:
    body = record.body
    if record.openai:
        _check_fields(body, _OF_DETECTION)
    threshold = _number(body, options, "threshold", THRESHOLD_DEFAULT)
    detections = _number(body, options, "max_detections", DETECTIONS_DEFAULT)
    if not 0 <= threshold <= 1:
        raise InvalidRequest("threshold must be from 0 to 1.", code="invalid_body", field="threshold")
    if not 1 <= detections <= DETECTIONS_MAX or detections != int(detections):
        raise InvalidRequest(
            f"max_detections must be a whole number from 1 to {DETECTIONS_MAX}.",
            code="invalid_body",
            field="max_detections",
        )
    image = _image(record, load)
    object_detection.check_image(image, limits=endpoint.limits, path="image")
    request = object_detection.request_for(
        image, threshold=threshold, max_detections=int(detections), max_pixels=endpoint.limits.max_pixels
    )
    return Ask(record.line, record.custom_id, record.openai, request=request, size=len(image))


def _image(record: Record, load: LoadImage) -> bytes:
    asked = record.body.get("image")
    one = asked if isinstance(asked, dict) and len(asked) == 1 else {}
    address, encoded = one.get("s3"), one.get("base64")
    if isinstance(address, str) and address:
        return load(address)
    if not isinstance(encoded, str) or not encoded:
        raise InvalidRequest(
            "image must be an object with s3 or base64.", code="missing_image" if asked is None else "wrong_type",
            field="image",
        )  # fmt: skip
    try:
        return b64decode(encoded, validate=True)
    except ValueError:
        raise InvalidRequest(
            "The image must be standard base64 with padding.", code="invalid_base64", field="image"
        ) from None


def _protocol(record: Record, endpoint: Endpoint) -> Ask:
    """A request of the Open Inference Protocol, in JSON: a line has no room for raw tensors behind it."""
    text = json.dumps(record.body, ensure_ascii=False, separators=(",", ":")).encode()
    request = oip.read_request(
        text, head_bytes=None, bytes_max=min(endpoint.limits.max_payload_bytes, PAYLOAD_MAX_BYTES)
    )
    if request.parameters.get("binary_data_output") or any(
        output.get("parameters", {}).get("binary_data") for output in request.outputs
    ):
        raise InvalidRequest("Lines hold no raw tensors: ask for outputs in JSON.", code="no_binary", field="outputs")
    check_inputs(request, endpoint.inputs, items_max=endpoint.limits.max_items)
    promised = {spec.name for spec in endpoint.outputs}
    for index, output in enumerate(request.outputs):
        if output["name"] not in promised:
            raise InvalidRequest(
                f"Ask for any of these outputs: {', '.join(sorted(promised))}.",
                code="unknown_output",
                field=f"outputs[{index}].name",
            )
    chars = None
    if endpoint.task == TEXT_CLASSIFICATION:
        text_classification.check_texts(request.inputs[0], limits=endpoint.limits, path="inputs[0].data")
        chars = max(len(element) for element in request.inputs[0].data or [""])
    if endpoint.task == OBJECT_DETECTION:
        image = object_detection.wire_image(request.inputs[0], path="inputs[0].data")
        object_detection.check_image(image, limits=endpoint.limits, path="inputs[0].data")
    if endpoint.limits.max_pixels is not None:
        request = replace(request, parameters={**request.parameters, "max_pixels": endpoint.limits.max_pixels})
    items = request.inputs[0].shape[0] if request.inputs[0].shape else 1
    return Ask(record.line, record.custom_id, record.openai, items=items, request=request, chars=chars, size=len(text))


def _check_fields(body: dict[str, Any], known: frozenset[str]) -> None:
    if not body.keys() <= known:
        raise InvalidRequest(f"The body takes {', '.join(sorted(known))}.", code="invalid_body", field="body")


def _number(body: dict[str, Any], options: Options, name: str, default: float) -> float:
    """What the record says, else the batch (as a text), else the default."""
    value: Any = body.get(name)
    if value is None:
        try:
            return float(dict(options.parameters).get(name, default))
        except ValueError:
            value = None
    if type(value) in {int, float} and abs(value) <= float_info.max:
        return float(value)
    raise InvalidRequest(f"{name} must be a number.", code="invalid_body", field=name)
