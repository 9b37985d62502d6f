"""Loads an artifact as the serving program does and asks it a few times, with made-up requests.

Runs in the child process. A request is made up of small numbers, one row at first. Where the file leaves sizes open
that the model does not take all of, several are tried, and the first that works becomes the artifact's example.
"""

import json
import math
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from endpoints.inspecting.bounds import ANSWER_ELEMENTS_MAX, EXAMPLE_BYTES_MAX, FREE_SIZES, REQUEST_BYTES_MAX
from endpoints.inspecting.errors import RefusedError
from endpoints.inspecting.facts import Facts, FilePort, Trial
from endpoints.serving.artifact import ArtifactError, open_artifact
from endpoints.serving.errors import ServingError
from endpoints.serving.runner import EXAMPLE_FILE, LoadError, Runner

RUNS = 5
ROWS = (1, 2, 3)
_REASON_CHARS_MAX = 300
_STEPS = 8
"""Made-up numbers are eighths: as JSON they are a third as long as any others, and most pictures fit in a request."""
_HINTS = (
    ("Unsupported model IR version", "export it again for the IR version named, or an older one"),
    ("is under development", "export it again for a released opset"),
    ("till opset", "export it again for that opset"),
    (
        "is not a registered function/op",
        "the onnxruntime that serves it does not have this operator: export it without",
    ),
    ("No Op registered", "the onnxruntime that serves it does not have this operator: export it without"),
    ("bad_alloc", "it needs more memory than an inspection may take"),
    ("bad allocation", "it needs more memory than an inspection may take"),
    ("Failed to allocate", "it needs more memory than an inspection may take"),
)

_PLACE = re.compile(r"Load model from \S+ failed:\s*|/\S*onnxruntime\S*:\d+ [^()]*\(.*?\)(?: const)? (?=[A-Z])")

Tensors = dict[str, np.ndarray]


def try_out(directory: Path, facts: Facts) -> Trial:
    """What the model in an artifact does.

    Raises:
        RefusedError: It cannot be loaded, or takes none of the requests.
    """
    try:
        runner = Runner.load(open_artifact(directory))
    except (ArtifactError, LoadError) as error:
        raise RefusedError(_advised(str(error.__cause__ or error))) from error
    _check_request(runner, facts)
    make, first, own = _find_request(runner, facts)
    example = document(runner, first)
    if example is None and own and EXAMPLE_FILE not in runner.artifact.files:
        raise RefusedError(f"it takes no request of less than {EXAMPLE_BYTES_MAX} bytes, which an endpoint would take")
    answers, times = [_run(runner, first)], []
    for _ in range(RUNS):
        began = time.perf_counter()
        answers.append(_run(runner, first))
        times.append(time.perf_counter() - began)
    observed = [answers[0]]
    for rows in ROWS[1:] if make else ():
        try:
            observed.append(_run(runner, make(rows)))  # type: ignore[misc]
        except RefusedError:
            break  # it takes one row alone
    steady = all(
        np.array_equal(a[name], answers[0][name], equal_nan=a[name].dtype.kind == "f") for a in answers for name in a
    )
    return Trial(
        shapes={port.name: _shape(port, [answer[port.name].shape for answer in observed]) for port in facts.outputs},
        latency_ms=round(statistics.median(times) * 1000, 3),
        example=example,
        needs_example=own,
        answer={name: _values(array) if steady else None for name, array in answers[0].items()},
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    )


def document(runner: Runner, tensors: Tensors) -> dict[str, Any] | None:
    """A request as the Open Inference Protocol has it; None where it is more than an endpoint takes."""
    inputs = []
    if sum(array.size for array in tensors.values()) * 2 > EXAMPLE_BYTES_MAX:  # a digit and a comma each
        return None
    for port in runner.signature.inputs.values():
        array = tensors[port.name]
        flat = array.reshape(-1).tolist()
        data = [each.decode() if isinstance(each, bytes) else each for each in flat]
        inputs.append({"name": port.name, "datatype": port.datatype.name, "shape": list(array.shape), "data": data})
    made = {"inputs": inputs}
    return made if len(json.dumps(made, separators=(",", ":"))) < EXAMPLE_BYTES_MAX else None


def _check_request(runner: Runner, facts: Facts) -> None:
    """Refuse what is too large to be made up, before it is: its sizes are what the file says, and cost it nothing."""
    total = 0
    for port in facts.inputs:
        kind = runner.signature.inputs[port.name].datatype.dtype
        total += math.prod(size for size in port.sizes if size > 0) * kind.itemsize
    if total > REQUEST_BYTES_MAX:
        raise RefusedError(
            f"its inputs have {total} bytes in one row, and an endpoint takes {EXAMPLE_BYTES_MAX} in a request: export "
            "it for smaller ones, or put a model.py before it that makes them"
        )


def _find_request(runner: Runner, facts: Facts) -> tuple[Callable[[int], Tensors] | None, Tensors, bool]:
    """The maker of requests by rows (None for a given example), the first request, and whether it must be kept."""
    if EXAMPLE_FILE in runner.artifact.files:
        tensors, _ = runner.example()
        _run(runner, tensors)
        return None, tensors, True
    reason = ""
    for index, make in enumerate((lambda rows: _synthetic(runner, rows=rows), *_makers(facts, runner))):
        try:
            tensors = make(1)
            _run(runner, tensors)
        except RefusedError as error:
            reason = reason or str(error)
            continue
        return make, tensors, index > 0
    raise RefusedError(
        f"it takes none of the requests made up for it ({reason}): give one that it takes with --example"
    )


def _synthetic(runner: Runner, *, rows: int) -> Tensors:
    made = runner.synthetic(rows=rows, seed=rows)
    return {name: _eighths(array) if array.dtype.kind == "f" else array for name, array in made.items()}


def _eighths(array: np.ndarray) -> np.ndarray:
    return (np.round(array * _STEPS) / _STEPS).astype(array.dtype)


def _makers(facts: Facts, runner: Runner) -> Iterator[Callable[[int], Tensors]]:
    """Ways to fill the sizes left open: all by one number, or the last axes by it and those between by the rows."""
    if all(size > 0 for port in facts.inputs for size in port.sizes):
        return
    for size in FREE_SIZES:
        for between in (size, None):
            yield lambda rows, size=size, between=between: {  # type: ignore[misc]
                port.name: _fill(port, runner, rows=rows, size=size, between=between) for port in facts.inputs
            }


def _fill(port: FilePort, runner: Runner, *, rows: int, size: int, between: int | None) -> np.ndarray:
    last = len(port.sizes) - 1
    shape = [
        known
        if known > 0
        else rows
        if axis == 0
        else size
        if axis == last
        else (between if between is not None else rows)
        for axis, known in enumerate(port.sizes)
    ]
    kind = runner.signature.inputs[port.name].datatype.dtype
    random = np.random.default_rng(rows)
    if kind.kind == "O":
        return random.integers(0, 10, shape).astype(bytes).astype(object)
    if kind.kind == "f":
        return _eighths(random.uniform(-1, 1, shape)).astype(kind)
    return np.asarray(random.integers(0, 2, shape)).astype(kind)


def _run(runner: Runner, tensors: Tensors) -> Tensors:
    """One run past the engine's own wording: here the reason is wanted, and nothing of a caller's is in it."""
    try:
        prepared = runner.prepare(tensors, {})
        return runner.run_rows([prepared])
    except ServingError as error:
        raise RefusedError(error.message) from error
    except Exception as error:  # ONNX Runtime raises classes of its own, outside any public tree
        raise RefusedError(_advised(f"it cannot be run: {error}")) from error


def _shape(port: FilePort, seen: list[tuple[int, ...]]) -> tuple[int, ...]:
    """A declarable shape: fixed where the file says so and every answer agrees."""
    rank = len(seen[0])
    if any(len(shape) != rank for shape in seen):
        raise RefusedError(f"its output {port.name} has a number of dimensions that changes from answer to answer")
    declared = port.sizes if port.shape is not None and len(port.sizes) == rank else (-1,) * rank
    return tuple(
        size if size > 0 and all(shape[axis] == size for shape in seen) else -1 for axis, size in enumerate(declared)
    )


def _values(array: np.ndarray) -> list[Any] | None:
    if array.size > ANSWER_ELEMENTS_MAX or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        return None
    if array.dtype.kind == "f":
        return [float(f"{value:.7g}") for value in array.reshape(-1).tolist()]
    return [each.decode(errors="replace") if isinstance(each, bytes) else each for each in array.reshape(-1).tolist()]


def _advised(reason: str) -> str:
    """ONNX Runtime's words, without the place in its source where they are said, and what to do where that is known."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in reason).split())
    hint = next((hint for sign, hint in _HINTS if sign in line), "")
    said = _PLACE.sub("", line)[:_REASON_CHARS_MAX]
    return f"{said}{f': {hint}' if hint else ''}"
