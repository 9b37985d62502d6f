"""Rules instead of a model: `<name>/rules.py`, plain Python on plain lists."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace import oip
from headrace.catalog import Endpoint
from headrace.inference import InferenceResponse, Tensor
from headrace.limits import PAYLOAD_MAX_BYTES
from headrace.tensors import BYTES

Answer = Callable[[dict[str, list[Any]], dict[str, Any]], dict[str, list[Any]]]


class Rules:
    """Loads `<folder>/<endpoint>/rules.py` on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, Answer] = {}

    def answer(self, endpoint: Endpoint, *, content_type: str, body: bytes) -> tuple[str, bytes]:
        """Content type and body of the answer, always JSON.

        Raises:
            InvalidRequest: the body is not a request.
            FileNotFoundError: the endpoint was deployed without its rules.
        """
        head_length = oip.head_length(content_type)
        request = oip.read_request(
            body, head_bytes=None if head_length is None else int(head_length), bytes_max=PAYLOAD_MAX_BYTES
        )
        tensors = {tensor.name: _values(tensor) for tensor in request.inputs}
        outputs = self._rules(endpoint.name)(tensors, request.parameters)
        wanted = {output["name"] for output in request.outputs}
        response = InferenceResponse(
            outputs=tuple(
                _tensor(spec.name, spec.datatype, outputs[spec.name])
                for spec in endpoint.outputs
                if not wanted or spec.name in wanted
            )
        )
        _, answer = oip.write_response(response, model_name=endpoint.name, model_version="rules", request_id=request.id)
        return oip.JSON_TYPE, answer

    def _rules(self, name: str) -> Answer:
        if name not in self._loaded:
            path = self._folder / name / "rules.py"
            spec = importlib.util.spec_from_file_location(f"headrace_rules_{name.replace('-', '_')}", path)
            if spec is None or spec.loader is None:
                raise FileNotFoundError(path)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            self._loaded[name] = module.answer
        return self._loaded[name]


def _values(tensor: Tensor) -> list[Any]:
    if tensor.datatype == BYTES:
        return [element.decode(errors="replace") for element in oip.bytes_elements(tensor)]
    return list(tensor.data or [])


def _tensor(name: str, datatype: str, values: list[Any]) -> Tensor:
    """Rules answer in nested lists, whose nesting is the shape."""
    shape = [len(values)]
    while values and isinstance(values[0], list):
        shape.append(len(values[0]))
        values = [element for row in values for element in row]
    return Tensor(name, datatype, tuple(shape), data=values)
