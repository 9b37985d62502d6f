"""The rules of the house that a machine can hold: where imports may point, and what tests may not do."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = "layers/core/python/headrace"
ADAPTERS = "layers/core/python/headrace_aws"

OUTSIDE_WORLD = frozenset(
    {"aiohttp", "boto3", "botocore", "fastapi", "http", "httpx", "mangum", "os", "random", "requests", "socket"}
    | {"sqlite3", "ssl", "starlette", "subprocess", "threading", "time", "urllib", "urllib3", "uuid"}
    | {"aws_lambda_powertools", "numpy", "onnxruntime"}
)
"""What a decision must not touch: the clock, chance and the environment arrive as arguments."""

RULES: tuple[tuple[str, frozenset[str]], ...] = (
    (CORE, OUTSIDE_WORLD | {"headrace_aws", "functions", "endpoints", "infra_cdk", "infra_local", "tests"}),
    (ADAPTERS, frozenset({"functions", "endpoints", "infra_cdk", "infra_local", "tests", "fastapi", "starlette"})),
    ("functions", frozenset({"infra_cdk", "infra_local", "tests", "boto3", "botocore"})),
    ("endpoints", frozenset({"headrace", "headrace_aws", "functions", "infra_cdk", "infra_local", "tests", "boto3"})),
    ("infra_cdk", frozenset({"functions", "infra_local", "tests"})),
    ("infra_local", frozenset({"functions", "infra_cdk", "tests"})),
    ("headrace_cli", frozenset({"functions", "infra_cdk", "infra_local", "tests"})),
)
OPERATORS_ALONE = frozenset({"headrace_aws", "endpoints", "boto3", "botocore", "onnx", "onnxruntime", "yaml"})
"""What comes with a checkout or the extra `operator`: callers' commands, which have `cli` alone, must do without."""
NEVER_IN_LAMBDA = frozenset({"sagemaker", "aws_xray_sdk", "pandas", "torch", "sklearn", "yaml"})
HTTP_FREE_SERVING = ("answers", "artifact", "datatypes", "errors", "runner", "sessions", "strict_json", "tensors")
"""The half of the serving program that `functions/fallback` may use, and that ships in its zip."""
ENVIRONMENT_READERS = ("handler.py", "settings.py", "keys.py", "__main__.py")


@functools.cache
def tree(path: Path) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def sources(folder: str) -> list[Path]:
    """Python files below a folder."""
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(("folder", "banned"), RULES, ids=[folder for folder, _ in RULES])
def test_imports_point_inwards(folder: str, banned: frozenset[str]) -> None:
    """Functions → headrace_aws → headrace; endpoints import none of them; the core touches nothing outside."""
    found = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for name in imports(path)
        if name.partition(".")[0] in banned
    ]
    assert sources(folder)
    assert not found


def test_callers_need_nothing_of_what_operators_need() -> None:
    """The command line imports an account's or a checkout's parts inside the command that needs them."""
    for path in sources("headrace_cli"):
        top = [
            node
            for node in tree(path).body
            if isinstance(node, ast.Import | ast.ImportFrom)  # those for type checkers alone are inside an `if`
        ]
        names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in top if isinstance(node, ast.ImportFrom) and node.module}
        assert not {name.partition(".")[0] for name in names} & OPERATORS_ALONE, path


def test_functions_use_only_the_http_free_half_of_serving() -> None:
    """The stand-in runs a model as an endpoint does, and ships no server; no other function touches endpoints."""
    allowed = {f"endpoints.serving.{name}" for name in HTTP_FREE_SERVING}
    for path in sources("functions"):
        used = {name.rpartition(".")[0] for name in imports(path) if name.startswith("endpoints.")}
        assert used <= (allowed if path.parent.name == "fallback" else set()), path
    for name in HTTP_FREE_SERVING:
        path = ROOT / "endpoints" / "serving" / f"{name}.py"
        inner = {found for found in imports(path) if found.startswith("endpoints.")}
        assert {found.split(".")[2] for found in inner} <= set(HTTP_FREE_SERVING), path
        assert not {found.partition(".")[0] for found in imports(path)} & {"uvloop", "httptools", "asyncio"}, path


def test_functions_do_not_import_each_other() -> None:
    """One folder is one zip: what two functions share lives in the layer."""
    for path in sources("functions"):
        own = path.relative_to(ROOT / "functions").parts[0]
        others = {name.split(".")[1] for name in imports(path) if name.startswith("functions.")}
        assert others <= {own}, path


@pytest.mark.parametrize("folder", ["functions", "layers"])
def test_heavy_packages_stay_out_of_lambda(folder: str) -> None:
    """Neither the SageMaker SDK nor another giant can be imported by a function; YAML only before deployment."""
    for path in sources(folder):
        if path.parent.name == "declaration":
            continue
        assert not {name.partition(".")[0] for name in imports(path)} & NEVER_IN_LAMBDA, path


def test_functions_do_not_load_the_declaration_compiler() -> None:
    """The catalog is compiled before deployment; nothing that parses YAML is on a function's path."""
    for folder in ("functions", ADAPTERS):
        for path in sources(folder):
            assert not [name for name in imports(path) if name.startswith("headrace.declaration")], path


def test_the_environment_is_read_in_one_place_per_program() -> None:
    """`os.environ` appears where a program starts, and nowhere deeper."""
    for folder in ("functions", "layers"):
        for path in sources(folder):
            reads = "os.environ" in path.read_text(encoding="utf-8") or "getenv" in path.read_text(encoding="utf-8")
            assert not reads or path.name in ENVIRONMENT_READERS, path


def test_namespace_folders_have_no_init() -> None:
    """`functions` and `endpoints` are namespace packages here because they are in the zip."""
    assert not (ROOT / "functions" / "__init__.py").exists()
    assert not (ROOT / "endpoints" / "__init__.py").exists()


def test_every_function_has_a_handler() -> None:
    """One folder, one Lambda, one `handler.py` with a `handler` in it."""
    for folder in (ROOT / "functions").iterdir():
        if folder.is_dir() and not folder.name.startswith("__"):
            handler = tree(folder / "handler.py")
            names = {node.name for node in handler.body if isinstance(node, ast.FunctionDef)}
            names |= {
                target.id
                for node in handler.body
                if isinstance(node, ast.Assign)
                for target in node.targets
                if isinstance(target, ast.Name)
            }
            assert "handler" in names, folder


def test_tests_use_fakes() -> None:
    """No mock library and no patched attributes: a test that rewires the code does not test it."""
    for path in sources("tests"):
        for node in ast.walk(tree(path)):
            assert not (isinstance(node, ast.Attribute) and node.attr == "patch"), path
            assert not (
                isinstance(node, ast.Attribute)
                and node.attr == "setattr"
                and isinstance(node.value, ast.Name)
                and node.value.id == "monkeypatch"
            ), path
        assert not [name for name in imports(path) if name.startswith(("unittest.mock", "mock."))], path


def test_every_test_states_its_fact() -> None:
    """A test's docstring is the fact that it proves."""
    silent = [
        f"{path.relative_to(ROOT)}::{node.name}"
        for path in sources("tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert not silent


def test_requirements_carry_hashes_and_no_addresses() -> None:
    """Every pin has a hash, and nothing says where packages come from."""
    files = [
        *ROOT.glob("requirements/*.txt"),
        *ROOT.glob("layers/*/requirements.txt"),
        *ROOT.glob("endpoints/**/requirements*.txt"),
    ]
    assert len(files) >= 4
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert "://" not in text, file
        assert "--index-url" not in text, file
        pins = [line for line in text.splitlines() if "==" in line and not line.lstrip().startswith("#")]
        assert pins
        assert all(line.rstrip().endswith("\\") for line in pins), file
