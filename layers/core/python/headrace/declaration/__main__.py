"""`python -m headrace.declaration FOLDER [-o FILE] [--page FILE]`: check the declarations, write catalog and page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from headrace.catalog import dump
from headrace.declaration.compile import compile_catalog
from headrace.declaration.files import read_declarations, read_plans
from headrace.declaration.page import write_page
from headrace.declaration.schema import EndpointDeclaration
from headrace.errors import InvalidDeclarations
from headrace.plans import Plan


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when every declaration is good, 1 with all problems on standard error otherwise."""
    parser = argparse.ArgumentParser(prog="python -m headrace.declaration", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder that holds one folder per endpoint")
    parser.add_argument("-o", "--output", type=Path, help="where to write catalog.json (standard output without)")
    parser.add_argument("--page", type=Path, help="where to write the page that documents them")
    options = parser.parse_args(arguments)
    try:
        declarations, plans = _read(options.folder)
    except InvalidDeclarations as error:
        sys.stderr.write(f"{error}\n")
        return 1
    catalog = dump(compile_catalog(declarations, plans))
    if options.page is not None:
        options.page.write_text(write_page(declarations, plans), encoding="utf-8")
    if options.output is None:
        sys.stdout.write(catalog)
    else:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(catalog, encoding="utf-8")
    return 0


def _read(folder: Path) -> tuple[list[EndpointDeclaration], dict[str, Plan]]:
    """Both, or the problems of both at once."""
    problems: list[str] = []
    declarations: list[EndpointDeclaration] = []
    plans: dict[str, Plan] = {}
    try:
        plans = read_plans(folder)
    except InvalidDeclarations as error:
        problems.extend(error.problems)
    try:
        declarations = read_declarations(folder)
    except InvalidDeclarations as error:
        problems.extend(error.problems)
    if problems:
        raise InvalidDeclarations(tuple(problems))
    return declarations, plans


if __name__ == "__main__":
    raise SystemExit(main())
