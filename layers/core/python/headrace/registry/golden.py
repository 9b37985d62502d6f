"""Golden requests: what is sent, and whether an answer is what is known of it."""

from __future__ import annotations

import hashlib
import json
import math
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from headrace.declaration.golden import Element, Expectation, GoldenDeclaration
from headrace.tensors import BYTES, FREE

_SHOWN_MAX = 5


class GoldenProblem(Exception):
    """A golden request cannot be sent, or its answer is not the one known; the message says what differs."""


def request_body(golden: GoldenDeclaration, content: bytes | None) -> dict[str, Any]:
    """The request as the Open Inference Protocol has it.

    Args:
        golden: what is declared.
        content: the bytes of the file or picture that it names, if it names one.

    Raises:
        GoldenProblem: the file is missing, another one, or no request.
    """
    if golden.kind in {"image", "drawn"}:
        image = _content(content, golden)
        if golden.image is not None and hashlib.sha256(image).hexdigest() != golden.image.sha256:
            raise GoldenProblem(
                f"golden {golden.name}: {golden.image.path} is not the file declared: its SHA-256 differs"
            )
        tensor = {
            "name": "image",
            "datatype": BYTES,
            "shape": [1],
            "data": [b64encode(image).decode()],
            "parameters": {"content_type": "base64"},
        }
        body: dict[str, Any] = {"inputs": [tensor]}
    elif golden.texts is not None:
        tensor = {"name": "text", "datatype": BYTES, "shape": [len(golden.texts)], "data": list(golden.texts)}
        body = {"inputs": [tensor]}
    elif golden.inputs is not None:
        body = {"inputs": [tensor.model_dump() for tensor in golden.inputs]}
    else:
        body = _read(_content(content, golden), golden)
    if golden.parameters:
        body["parameters"] = {**body.get("parameters", {}), **golden.parameters}
    return body


def judge(golden: GoldenDeclaration, answer: Any) -> list[str]:
    """What an answer (the parsed JSON of an inference response) lacks; empty when all that is known of it holds."""
    try:
        outputs = {str(output["name"]): output for output in answer["outputs"]}
    except (KeyError, TypeError):
        return ["the answer is no inference response"]
    problems: list[str] = []
    for expected in golden.expect:
        output = outputs.get(expected.output)
        if output is None:
            problems.append(f"{expected.output}: no such output; there are {', '.join(outputs)}")
            continue
        problems.extend(f"{expected.output}: {problem}" for problem in _judge(expected, output))
    return problems


def _judge(expected: Expectation, output: Any) -> list[str]:
    try:
        data, shape = list(output["data"]), tuple(output["shape"])
    except (KeyError, TypeError):
        return ["is no tensor in JSON"]
    problems: list[str] = []
    numbers = [value for value in data if isinstance(value, int | float) and not isinstance(value, bool)]
    # JSON has no word for NaN: the serving program writes null.
    if any(value is None for value in data) or not all(map(math.isfinite, numbers)):
        problems.append("holds what is not a finite number")
    if expected.shape is not None and not _fits(shape, expected.shape):
        problems.append(f"has shape {list(shape)}, expected {expected.shape}")
    if expected.equals is not None and data != expected.equals:
        problems.append(f"is {_shown(data)}, expected {_shown(expected.equals)}")
    if expected.includes is not None and (lacking := [each for each in expected.includes if each not in data]):
        problems.append(f"lacks {_shown(lacking)}; it is {_shown(data)}")
    if expected.near is not None:
        problems.extend(_near(numbers, expected.near, tolerance=expected.tolerance))
    if expected.between is not None:
        low, high = expected.between
        if outside := [value for value in numbers if not low <= value <= high]:
            problems.append(f"holds {_shown(outside)}, outside {low:g} to {high:g}")
    return problems


def _near(numbers: Sequence[float], wanted: Sequence[float], *, tolerance: float) -> list[str]:
    if len(numbers) != len(wanted):
        return [f"has {len(numbers)} numbers, expected {len(wanted)}"]
    far = [(index, abs(a - b)) for index, (a, b) in enumerate(zip(numbers, wanted, strict=True))]
    index, distance = max(far, key=lambda each: math.inf if math.isnan(each[1]) else each[1])
    if not distance <= tolerance:
        return [f"[{index}] is {numbers[index]:g}, expected {wanted[index]:g} within {tolerance:g}"]
    return []


def _fits(shape: tuple[int, ...], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(want in (FREE, have) for want, have in zip(wanted, shape, strict=True))


def _shown(values: Sequence[Element]) -> str:
    more = len(values) - _SHOWN_MAX
    return f"[{', '.join(map(str, values[:_SHOWN_MAX]))}{f', and {more} more' if more > 0 else ''}]"


def _content(content: bytes | None, golden: GoldenDeclaration) -> bytes:
    if content is None:
        raise GoldenProblem(f"golden {golden.name}: its file cannot be read")
    return content


def _read(content: bytes, golden: GoldenDeclaration) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise GoldenProblem(f"golden {golden.name}: {golden.request} is no inference request in JSON")
    return body
