"""From the text of a declaration to its checked value, or to every problem in it with file and line.

YAML is composed to nodes first, because only nodes know their lines; values are then built from the nodes with YAML's
safe constructor, and a problem found by the schema is traced back to the deepest node on its path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from headrace.declaration.plans import EXAMPLE, PlansDeclaration
from headrace.declaration.routing import EXAMPLE as ROUTING_EXAMPLE
from headrace.declaration.routing import RoutingDeclaration
from headrace.declaration.schema import EndpointDeclaration
from headrace.declaration.shape import Declared, Path
from headrace.plans import Plan

T = TypeVar("T", bound=Declared)

TEXT_MAX_CHARS = 262_144
"""A declaration is a screenful; anything near this is not one."""

Lines = dict[Path, int]


def parse_declaration(
    text: str, *, source: str, plans: Mapping[str, Plan] | None = None
) -> tuple[EndpointDeclaration | None, list[str]]:
    """Check one `endpoint.yaml`.

    Args:
        text: what the file holds.
        source: how to name the file in problems.
        plans: the declared plans, to hold against those that versions name; None when they are not known.

    Returns:
        The declaration, or None, and the problems as `file:line: path: what to do`.
    """
    lines: Lines = {}
    declaration, found = _parse(text, EndpointDeclaration, source=source, empty="declare an endpoint", lines=lines)
    if declaration is None:
        return None, found
    problems = [
        _problem(path, message, lines=lines, source=source) for path, message in declaration.problems(plans=plans)
    ]
    return (None if problems else declaration), problems


def parse_plans(text: str, *, source: str) -> tuple[dict[str, Plan] | None, list[str]]:
    """Check a `plans.yaml`; arguments and answer are as for an endpoint."""
    lines: Lines = {}
    declaration, found = _parse(text, PlansDeclaration, source=source, empty=f"write `{EXAMPLE}`", lines=lines)
    if declaration is None:
        return None, found
    problems = [_problem(path, message, lines=lines, source=source) for path, message in declaration.problems()]
    return (None if problems else declaration.compiled()), problems


def parse_routing(text: str, *, source: str) -> tuple[RoutingDeclaration | None, list[str]]:
    """Check the file of a routing document; arguments and answer are as for an endpoint."""
    lines: Lines = {}
    declaration, found = _parse(
        text, RoutingDeclaration, source=source, empty=f"write `{ROUTING_EXAMPLE}`", lines=lines
    )
    if declaration is None:
        return None, found
    problems = [_problem(path, message, lines=lines, source=source) for path, message in declaration.problems()]
    return (None if problems else declaration), problems


def _parse(text: str, shape: type[T], *, source: str, empty: str, lines: Lines) -> tuple[T | None, list[str]]:
    """A value of `shape`, or None with the problems; fills `lines` with the line of every path."""
    if len(text) > TEXT_MAX_CHARS:
        return None, [f"{source}:1: a declaration holds at most {TEXT_MAX_CHARS} characters"]
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                # An alias can refer to what holds it, or unfold a screenful into gigabytes.
                line = event.start_mark.line + 1 if event.start_mark else 1
                return None, [f"{source}:{line}: aliases are not allowed: write the value out"]
        document = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        return None, [f"{source}:{mark.line + 1 if mark else 1}: not YAML: {error.problem or error.context}"]
    except yaml.YAMLError as error:
        return None, [f"{source}:1: not YAML: {type(error).__name__}: check for control characters"]
    if document is None:
        return None, [f"{source}:1: the file is empty: {empty}"]
    duplicates: list[str] = []
    _trace(document, (), lines=lines, duplicates=duplicates, source=source)
    if duplicates:
        return None, duplicates
    try:
        value = yaml.SafeLoader("").construct_document(document)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        return None, [f"{source}:{mark.line + 1 if mark else 1}: {error.problem}"]
    try:
        return shape.model_validate(value), []
    except ValidationError as error:
        return None, [_problem(detail["loc"], _plain(detail), lines=lines, source=source) for detail in error.errors()]


def _trace(node: yaml.Node, path: Path, *, lines: Lines, duplicates: list[str], source: str) -> None:
    """Record the line of every path, and repeated keys, which YAML's constructor would let pass."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            line = key.start_mark.line + 1
            if name in seen:
                duplicates.append(f"{source}:{line}: {_dotted((*path, name))}: declared twice: keep one")
                continue
            seen.add(name)
            _trace(value, (*path, name), lines=lines, duplicates=duplicates, source=source)
            lines[(*path, name)] = line
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _trace(value, (*path, index), lines=lines, duplicates=duplicates, source=source)


def _problem(path: Path, message: str, *, lines: Lines, source: str) -> str:
    # Pydantic puts the tag of a union member and its marks for keys into the path; the file knows neither.
    known: Path = ()
    for step in path:
        if (*known, step) in lines:
            known = (*known, step)
    shown = known if known == path else path
    return f"{source}:{lines.get(known, 1)}: {_dotted(shown)}: {message}"


def _plain(detail: Any) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not a field of a declaration"
    if kind == "value_error":
        return str(context["error"])
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}"
    message: str = detail["msg"]
    return message[:1].lower() + message[1:]


def _dotted(path: Path) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the document"
