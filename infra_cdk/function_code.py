"""Which files make each function's zip: the repository root filtered to that function's folder.

The list is written as exclusions because CDK hashes and copies by them. `!functions` alone is never written: it would
let every function in. Dotted paths stay as in the repository, so the handler is `functions.<name>.handler.handler`.
"""

from __future__ import annotations

import ast
from pathlib import Path

_SERVING = "endpoints.serving"


def zip_excludes(function: str, *, root: Path) -> tuple[str, ...]:
    """Docker-ignore patterns that leave only what `function` needs of the repository at `root`."""
    wanted = [f"!functions/{function}"]
    if function == "fallback":
        # The HTTP-free half of the serving program, which loads and runs artifacts just as the container does.
        wanted += [f"!{path}" for path in serving_parts(root / "functions" / function, root=root)]
        # Each endpoint's rules, found and not listed: a new endpoint is one new folder.
        wanted += [f"!{path.relative_to(root).as_posix()}" for path in sorted(root.glob("endpoints/*/rules.py"))]
    return ("*", *wanted, "**/__pycache__")


def serving_parts(importer: Path, *, root: Path) -> list[str]:
    """The modules of `endpoints/serving` that the sources in `importer` import, and what those import in turn."""
    waiting = sorted(importer.rglob("*.py"))
    seen: set[Path] = set()
    while waiting:
        for module in _serving_imports(waiting.pop()):
            for path in _files_of(module, root=root):
                if path not in seen:
                    seen.add(path)
                    waiting.append(path)
    return sorted(path.relative_to(root).as_posix() for path in seen)


def _serving_imports(source: Path) -> set[str]:
    """Dotted names below `endpoints.serving` that `source` mentions in an import, wherever in the file it stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"), filename=str(source))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.update((node.module, *(f"{node.module}.{alias.name}" for alias in node.names)))
    return {name for name in names if name == _SERVING or name.startswith(f"{_SERVING}.")}


def _files_of(module: str, *, root: Path) -> list[Path]:
    """The file of `module` and its package's `__init__.py`; nothing when the name is not a module but within one."""
    base = root.joinpath(*module.split("."))
    candidates = [base.with_suffix(".py"), base / "__init__.py", base.parent / "__init__.py"]
    return [path for path in candidates if path.is_file()]
