"""What a model answered, as lines of the results file; and errors, as lines of the errors file.

A bare record's line is small: `{"line", "custom_id", "result", "served_by", "degraded"}`. A record of OpenAI's shape
gets that shape back: `{"id", "custom_id", "response": {"status_code", "request_id", "body"}, "error"}`, where the body
is what the online route answers. Lines are built once, as bytes: this is on every record's way.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headrace import oip
from headrace.batches.reading.records import Bad
from headrace.catalog import Endpoint
from headrace.errors import InvalidAnswer
from headrace.inference import InferenceRequest, InferenceResponse, check_outputs, plain
from headrace.tasks import object_detection, text_classification
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION

_dump = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_BOX = ("x_min", "y_min", "x_max", "y_max")


class Asked(Protocol):
    """What a line says of its record; an `Ask` is one, and so is a `Slip`."""

    @property
    def line(self) -> int:
        """Its number in the input, from 1."""

    @property
    def custom_id(self) -> str | None:
        """Its owner's name for it."""

    @property
    def openai(self) -> bool:
        """Whether it is of OpenAI's shape."""

    @property
    def items(self) -> int:
        """How many things it asks for."""

    @property
    def several(self) -> bool:
        """Whether it lists them."""


@dataclass(frozen=True, slots=True)
class Slip:
    """What is remembered of a record while its request lies elsewhere."""

    line: int
    custom_id: str | None
    openai: bool
    items: int
    several: bool


def dump_slips(asks: Sequence[Asked]) -> bytes:
    """One line that lists the records of one request, in their order."""
    rows = [[ask.line, ask.custom_id, ask.openai, ask.items, ask.several] for ask in asks]
    return f"{_dump(rows)}\n".encode()


def load_slips(line: bytes) -> list[Slip]:
    """What `dump_slips` wrote. Raises ValueError, TypeError: something else."""
    return [Slip(*row) for row in json.loads(line)]


def reader(
    items: int, request: InferenceRequest | None, *, endpoint: Endpoint
) -> Callable[[InferenceResponse], list[Any]]:
    """What checks an answer and takes it apart: one value for each item, or the whole answer as the only one.

    Args:
        items: how many are asked for.
        request: of the Open Inference Protocol, when it was the record's own; None when a task was asked.
        endpoint: what was asked.
    """
    if request is not None:
        asked = request
        return lambda response: [_checked(response, asked, endpoint)]
    if endpoint.task == TEXT_CLASSIFICATION:
        return lambda response: list(text_classification.read(response, endpoint=endpoint, items=items))
    return lambda response: [object_detection.read(response)]


def result_lines(
    asks: Sequence[Asked], values: list[Any], *, endpoint: Endpoint, served_by: str, degraded: str, batch_id: str
) -> list[bytes]:
    """A line for each record of one answered request.

    Args:
        asks: the records, in the order of their items.
        values: of `reader`.
        endpoint: what was asked.
        served_by: who answered.
        degraded: why that was a stand-in, or empty.
        batch_id: what request ids are made of, so that the same record has the same one whenever it is asked.

    Raises:
        InvalidAnswer: fewer or more values than records have items.
    """
    lines: list[bytes] = []
    at = 0
    tail = f'"served_by":{_dump(served_by)},"degraded":{_dump(degraded or None)}}}'
    for ask in asks:
        own = values[at : at + ask.items]
        at += ask.items
        name = _dump(ask.custom_id)
        if ask.openai:
            request_id = f"{batch_id}-{ask.line}"
            body = _online(own, endpoint, served_by, degraded, request_id)
            text = (
                f'{{"id":"{request_id}","custom_id":{name},"response":{{"status_code":200,'
                f'"request_id":"{request_id}","body":{body}}},"error":null}}\n'
            )
        else:
            text = f'{{"line":{ask.line},"custom_id":{name},"result":{_bare(ask, own, endpoint, served_by)},{tail}\n'
        lines.append(text.encode())
    if at != len(values) and not isinstance(values[0], InferenceResponse):
        raise InvalidAnswer("The answer does not have one value per item.")
    return lines


def error_line(bad: Bad, *, batch_id: str) -> bytes:
    """A record's error: never more of its input than the name that its owner gave it."""
    document = {
        "id": f"{batch_id}-{bad.line}",
        "line": bad.line,
        "custom_id": bad.custom_id,
        "response": None,
        "error": {"code": bad.code, "message": bad.message, "field": bad.field or None},
    }
    return f"{_dump(document)}\n".encode()


def _checked(response: InferenceResponse, request: InferenceRequest, endpoint: Endpoint) -> InferenceResponse:
    wanted = frozenset(output["name"] for output in request.outputs)
    check_outputs(response, endpoint.outputs, wanted=wanted)
    if not wanted:
        if endpoint.task == TEXT_CLASSIFICATION:
            text_classification.read(plain(response), endpoint=endpoint, items=request.inputs[0].shape[0])
        elif endpoint.task == OBJECT_DETECTION:
            object_detection.read(plain(response))
    return response


def _bare(ask: Asked, values: list[Any], endpoint: Endpoint, served_by: str) -> str:
    first = values[0]
    match first:
        case InferenceResponse():
            return _protocol(first, endpoint, served_by, "")
        case object_detection.Detections():
            return _dump(_found(first))
        case _ if ask.several:
            return _dump({"results": _rows(values)})
        case _:
            return _dump({"label": first.label, "score": first.score, "scores": first.scores})


def _online(values: list[Any], endpoint: Endpoint, served_by: str, degraded: str, request_id: str) -> str:
    first = values[0]
    if isinstance(first, InferenceResponse):
        return _protocol(first, endpoint, served_by, request_id)
    detected = isinstance(first, object_detection.Detections)
    head = {
        "id": f"{'det' if detected else 'cls'}-{request_id}",
        "object": "detection" if detected else "classification",
        "model": endpoint.name,
        "served_by": served_by,
        "degraded": degraded or None,
    }
    return _dump({**head, **(_found(first) if detected else {"results": _rows(values)})})


def _rows(values: list[Any]) -> list[dict[str, Any]]:
    return [
        {"index": index, "label": each.label, "score": each.score, "scores": each.scores}
        for index, each in enumerate(values)
    ]


def _found(found: object_detection.Detections) -> dict[str, Any]:
    return {
        "image": {"width": found.width, "height": found.height},
        "detections": [
            {"label": item.label, "score": item.score, "box": dict(zip(_BOX, item.box, strict=True))}
            for item in found.objects
        ],
    }


def _protocol(response: InferenceResponse, endpoint: Endpoint, served_by: str, request_id: str) -> str:
    version = served_by.partition("/")[2]
    _, content = oip.write_response(
        plain(response), model_name=endpoint.name, model_version=version, request_id=request_id
    )
    return content.decode()
