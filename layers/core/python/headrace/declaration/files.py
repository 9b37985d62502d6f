"""Reading a folder of declarations. Used before deployment and by the local platform, never in a function."""

from __future__ import annotations

from pathlib import Path

from headrace.declaration.compile import problems_between
from headrace.declaration.parse import parse_declaration, parse_plans
from headrace.declaration.plans import EXAMPLE
from headrace.declaration.schema import EndpointDeclaration
from headrace.errors import InvalidDeclarations
from headrace.plans import Plan

FILE_NAME = "endpoint.yaml"
PLANS_NAME = "plans.yaml"


def read_plans(folder: Path) -> dict[str, Plan]:
    """The plans of `<folder>/plans.yaml` by name.

    Raises:
        InvalidDeclarations: the file is missing, or with every problem in it, each with its line.
    """
    plans, problems = _plans(folder)
    if plans is None:
        raise InvalidDeclarations(tuple(problems))
    return plans


def read_declarations(folder: Path) -> list[EndpointDeclaration]:
    """All `<folder>/*/endpoint.yaml`, in the order of their names, held against the plans where these can be read.

    What is wrong with `plans.yaml` itself is said by `read_plans`.

    Raises:
        InvalidDeclarations: with every problem of every file, each with its line.
    """
    problems: list[str] = []
    plans, _ = _plans(folder)
    declarations: dict[str, EndpointDeclaration] = {}
    files = sorted(folder.glob(f"*/{FILE_NAME}"))
    if not files:
        problems.append(f"{folder}: no */{FILE_NAME} below it: declare an endpoint")
    for file in files:
        source = str(Path(folder.name) / file.parent.name / FILE_NAME)
        text, found = _text(file, source=source)
        if text is None:
            problems.extend(found)
            continue
        declaration, found = parse_declaration(text, source=source, plans=plans)
        problems.extend(found)
        if declaration is None:
            continue
        if declaration.name != file.parent.name:
            problems.append(f"{source}:1: name: must be the name of its folder, {file.parent.name}")
        if any(rung.kind == "rules" for rung in declaration.fallback) and not (file.parent / "rules.py").is_file():
            problems.append(f"{source}:1: fallback: a rules rung needs a rules.py beside {FILE_NAME}")
        declarations[source] = declaration
    problems.extend(problems_between(declarations))
    if problems:
        raise InvalidDeclarations(tuple(problems))
    return sorted(declarations.values(), key=lambda declaration: declaration.name)


def _plans(folder: Path) -> tuple[dict[str, Plan] | None, list[str]]:
    file, source = folder / PLANS_NAME, str(Path(folder.name) / PLANS_NAME)
    if not file.is_file():
        return None, [f"{source}:1: no such file: write `api: headrace/v1` and `{EXAMPLE}`, with your own figures"]
    text, problems = _text(file, source=source)
    return (None, problems) if text is None else parse_plans(text, source=source)


def _text(file: Path, *, source: str) -> tuple[str | None, list[str]]:
    try:
        return file.read_text(encoding="utf-8"), []
    except UnicodeDecodeError:
        return None, [f"{source}:1: not UTF-8: save it as UTF-8"]
    except OSError as error:
        return None, [f"{source}:1: cannot be read: {error.strerror}"]
