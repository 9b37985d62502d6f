"""What each function's zip and the core layer hold, to the file."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from infra_cdk.app import ROOT
from infra_cdk.function_code import serving_parts, zip_excludes
from infra_cdk.layers import CORE_EXCLUDE, Bundling, CopiedBundle

PLAIN = (
    *("authorizer", "predict", "job_run", "notify", "rollout_step", "shadow"),
    *("batch_start", "batch_plan", "batch_score", "batch_finish"),
)
FUNCTIONS = (*PLAIN, "fallback")
CACHES = frozenset({"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache"})
OURS = ("functions", "endpoints", "headrace", "headrace_aws")


def _bundle(source: Path, exclude: tuple[str, ...], into: Path) -> set[str]:
    """Bundle as a deployment would and list the files, relative."""
    into.mkdir(parents=True)
    bundling = Bundling(into.parent, None, "not compiled")
    assert CopiedBundle(source, exclude=exclude, bundling=bundling).try_bundle(str(into))
    return {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()}


def _sources(folder: Path) -> set[str]:
    """Files below `folder` that are not caches, relative to the repository."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not CACHES & set(path.parts)
    }


@pytest.mark.parametrize("function", PLAIN)
def test_a_functions_zip_is_its_folder(function: str, tmp_path: Path) -> None:
    """Nothing of another function, of the repository or of a cache gets in, and nothing of the folder is missing."""
    files = _bundle(ROOT, zip_excludes(function, root=ROOT), tmp_path / "zip")
    assert files == _sources(ROOT / "functions" / function)
    assert f"functions/{function}/handler.py" in files


def test_every_function_is_known_here() -> None:
    """A new folder below `functions/` is one more zip to be looked at."""
    assert {path.parent.name for path in (ROOT / "functions").glob("*/handler.py")} == set(FUNCTIONS)


def test_the_stand_ins_zip_adds_the_http_free_half_of_serving_and_all_rules(tmp_path: Path) -> None:
    """Besides its folder: what it imports of `endpoints/serving`, and every endpoint's rules."""
    files = _bundle(ROOT, zip_excludes("fallback", root=ROOT), tmp_path / "zip")
    rules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("endpoints/*/rules.py")}
    parts = set(serving_parts(ROOT / "functions" / "fallback", root=ROOT))
    assert files == _sources(ROOT / "functions" / "fallback") | rules | parts
    assert {f"endpoints/serving/{name}.py" for name in ("__init__", "artifact", "tensors", "runner")} <= files


def test_the_stand_in_carries_no_server() -> None:
    """No part of serving that it ships imports a server library, which its layers do not have."""
    for part in serving_parts(ROOT / "functions" / "fallback", root=ROOT):
        tree = ast.parse((ROOT / part).read_text(encoding="utf-8"))
        assert not {"uvloop", "httptools", "socket"} & _imported(tree), part


def test_a_decoy_never_ships(tmp_path: Path) -> None:
    """Neighbours with the same prefix, caches, hidden folders and other endpoints' code stay out."""
    root = tmp_path / "root"
    for name in (
        *("functions/predict/handler.py", "functions/predict/deep/er.py", "functions/predict/__pycache__/x.pyc"),
        *("functions/predictor/handler.py", "functions/__init__.py", "handler.py", ".env", ".git/config"),
        *("endpoints/a/rules.py", "endpoints/a/model.py", "predict/handler.py"),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("", encoding="utf-8")
    files = _bundle(root, zip_excludes("predict", root=root), tmp_path / "zip")
    assert files == {"functions/predict/handler.py", "functions/predict/deep/er.py"}


def test_serving_parts_are_followed_through_imports(tmp_path: Path) -> None:
    """What a part imports comes too, however it is written; what nobody imports stays out."""
    for name, text in (
        ("functions/fallback/handler.py", "from endpoints.serving import first\n"),
        ("endpoints/serving/__init__.py", ""),
        ("endpoints/serving/first.py", "def late():\n    import endpoints.serving.second\n"),
        ("endpoints/serving/second.py", "from endpoints.serving.first import late\n"),
        ("endpoints/serving/server.py", "import endpoints.serving.first\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert serving_parts(tmp_path / "functions" / "fallback", root=tmp_path) == [
        f"endpoints/serving/{name}.py" for name in ("__init__", "first", "second")
    ]


def test_the_core_layer_is_the_two_packages(tmp_path: Path) -> None:
    """`headrace` and `headrace_aws` below `python/`, as Lambda's path wants them, and nothing else."""
    core = ROOT / "layers" / "core"
    files = _bundle(core, CORE_EXCLUDE, tmp_path / "layer")
    assert files == {name.removeprefix("layers/core/") for name in _sources(core / "python")}
    assert {name.split("/")[1] for name in files} == {"headrace", "headrace_aws"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_everything_of_ours_that_a_zip_imports_is_in_it_or_in_the_core_layer(function: str, tmp_path: Path) -> None:
    """No import of the project's own code can fail on Lambda for want of a file."""
    files = _bundle(ROOT, zip_excludes(function, root=ROOT), tmp_path / "zip")
    files |= {
        name.removeprefix("python/") for name in _bundle(ROOT / "layers" / "core", CORE_EXCLUDE, tmp_path / "core")
    }
    missing = set()
    for folder in ("zip", "core/python"):
        for source in (tmp_path / folder).rglob("*.py"):
            for module in _modules(ast.parse(source.read_text(encoding="utf-8"))):
                base = module.replace(".", os.sep)
                if f"{base}.py" not in files and f"{base}/__init__.py" not in files:
                    missing.add((source.name, module))
    assert not missing


def _modules(tree: ast.AST) -> set[str]:
    """Modules of ours that a source imports; `from a import b` counts as `a`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return {name for name in names if name.split(".")[0] in OURS}


def _imported(tree: ast.AST) -> set[str]:
    """Top-level names that a source imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names
