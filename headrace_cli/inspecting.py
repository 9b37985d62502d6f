"""Inspection of ONNX files, in the words of the command line, and the declaration that it writes."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.declaration.parse import parse_declaration
from headrace.declaration.shape import NAME_PATTERN, VERSION_PATTERN
from headrace.tasks.contracts import TASKS
from headrace_cli.artifacts import DECLARATION, NO_CHECKOUT, read_declaration
from headrace_cli.problems import Problem, UsageProblem

if TYPE_CHECKING:
    from endpoints.inspecting import Inspection

OPERATORS_SHOWN = 8


def look(file: Path, *, example: Path | None) -> "Inspection":
    """Inspects a file.

    Raises:
        Problem: it cannot or must not be served.
    """
    try:
        from endpoints.inspecting import RefusedError, inspect
    except ImportError as error:
        raise Problem(NO_CHECKOUT.format(error.name)) from error
    try:
        return inspect(file, example=example)
    except RefusedError as refused:
        raise Problem(str(refused)) from refused


def hold_against(inspection: "Inspection", declaration: Path) -> None:
    """Compares a model with the tensors that a declaration promises.

    Raises:
        Problem: they differ; says what to write instead.
    """
    from endpoints.inspecting.declaring import mends

    declared = read_declaration(declaration)
    if not TASKS[declared.task].declares_tensors:
        raise Problem(f"{declaration}: {declared.task} fixes its tensors, which a model.py makes of the file's own.")
    sides = {
        side: [(each.name, each.datatype, tuple(each.shape)) for each in getattr(declared, side) or ()]
        for side in ("inputs", "outputs")
    }
    if found := mends(inspection, inputs=sides["inputs"], outputs=sides["outputs"]):
        raise Problem(f"{declaration}: {'; '.join(found)}")


def write_declaration(file: Path, write: Path, *, version: str, example: Path | None) -> tuple["Inspection", Path]:
    """Inspects a file, makes it the artifact of a version, and writes the declaration that serves it.

    Returns:
        What was found, and the endpoint's folder.

    Raises:
        Problem: it cannot be served, or something is there already; nothing is overwritten.
    """
    import re

    folder = write.parent.resolve()
    if write.name != DECLARATION or folder.parent.name != "endpoints" or not re.fullmatch(NAME_PATTERN, folder.name):
        raise UsageProblem(f"--write takes endpoints/NAME/{DECLARATION}; a name is lower-case letters, digits and '-'.")
    if not re.fullmatch(VERSION_PATTERN, version):
        raise UsageProblem("A version's name is lower-case letters, digits and '-', at most 31.")
    try:
        from endpoints.building.artifact import artifact_directory, artifacts_root
        from endpoints.inspecting import RefusedError
        from endpoints.inspecting.declaring import GOLDEN_NAME, starting_declaration
        from endpoints.inspecting.inspection import take
    except ImportError as error:
        raise Problem(NO_CHECKOUT.format(error.name)) from error
    artifact = artifact_directory(artifacts_root(folder.parent.parent, os.environ), folder.name, version)
    for taken in (write, folder / GOLDEN_NAME, artifact):
        if taken.exists():
            raise Problem(
                f"{taken} is there already, and nothing is overwritten: move it away, or choose another name."
            )
    try:
        inspection, digest = take(
            file,
            example=example,
            endpoint=folder.name,
            version=version,
            task="tensors",
            out=artifact,
            must_fit=True,
        )
    except RefusedError as refused:
        raise Problem(str(refused)) from refused
    text = starting_declaration(inspection, name=folder.name, version=version, digest=digest)
    declaration, problems = parse_declaration(text, source=str(write))
    if declaration is None:  # a gap in what is written, not in what the person did
        raise Problem(f"No declaration could be made of it: {problems[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / GOLDEN_NAME).open("x", encoding="utf-8") as stream:
        stream.write(json.dumps(inspection.trial.example, separators=(",", ":")) + "\n")
    with write.open("x", encoding="utf-8") as stream:
        stream.write(text)
    return inspection, write.parent


def rows_of(inspection: "Inspection") -> list[tuple[str, str]]:
    """What was found, as the rows of a table."""
    facts, trial = inspection.facts, inspection.trial
    return [
        ("file", f"{inspection.path}, {inspection.size_bytes} bytes"),
        ("made by", facts.producer or "it does not say"),
        ("opset", ", ".join(f"{domain or 'ai.onnx'} {number}" for domain, number in facts.opsets.items())),
        ("IR version", str(facts.ir_version)),
        *(
            (side[:-1], f"{name} {kind} {list(shape)}")
            for side in ("inputs", "outputs")
            for name, kind, shape in inspection.signature(side)
        ),
        ("nodes", f"{facts.nodes}: {_few(facts.operators)}"),
        ("parameters", str(facts.parameters)),
        *((("external data", ", ".join(facts.external)),) if facts.external else ()),
        *((("its own notes", ", ".join(facts.metadata)),) if facts.metadata else ()),
        ("ran", f"{trial.latency_ms:g} ms a request, {trial.peak_bytes >> 20} MiB at most"),
    ]


def describe_inspection(inspection: "Inspection") -> dict[str, Any]:
    """What was found, as JSON."""
    facts, trial = inspection.facts, inspection.trial
    return {
        "file": str(inspection.path),
        "size_bytes": inspection.size_bytes,
        "producer": facts.producer,
        "ir_version": facts.ir_version,
        "opsets": facts.opsets,
        **{
            side: [
                {"name": name, "datatype": kind, "shape": list(shape)}
                for name, kind, shape in inspection.signature(side)
            ]
            for side in ("inputs", "outputs")
        },
        "nodes": facts.nodes,
        "operators": facts.operators,
        "parameters": facts.parameters,
        "external_data": list(facts.external),
        "metadata": list(facts.metadata),
        "latency_ms": trial.latency_ms,
        "peak_bytes": trial.peak_bytes,
        "notes": list(inspection.notes),
    }


def _few(operators: dict[str, int]) -> str:
    named = [f"{name} {count}" for name, count in list(operators.items())[:OPERATORS_SHOWN]]
    more = len(operators) - OPERATORS_SHOWN
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")
