"""Reading a folder of declarations. Used before deployment and by the local platform, never in a function."""

from __future__ import annotations

from pathlib import Path

from headrace.declaration.compile import problems_between
from headrace.declaration.parse import parse_declaration
from headrace.declaration.schema import EndpointDeclaration
from headrace.errors import InvalidDeclarations

FILE_NAME = "endpoint.yaml"


def read_declarations(folder: Path) -> list[EndpointDeclaration]:
    """All `<folder>/*/endpoint.yaml`, in the order of their names.

    Raises:
        InvalidDeclarations: with every problem of every file, each with its line.
    """
    problems: list[str] = []
    declarations: dict[str, EndpointDeclaration] = {}
    files = sorted(folder.glob(f"*/{FILE_NAME}"))
    if not files:
        problems.append(f"{folder}: no */{FILE_NAME} below it: declare an endpoint")
    for file in files:
        source = str(Path(folder.name) / file.parent.name / FILE_NAME)
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            problems.append(f"{source}:1: not UTF-8: save it as UTF-8")
            continue
        except OSError as error:
            problems.append(f"{source}:1: cannot be read: {error.strerror}")
            continue
        declaration, found = parse_declaration(text, source=source)
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
