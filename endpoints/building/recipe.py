"""What a build depends on, as one digest: while it stays the same, nothing is built again.

The record lies beside the artifacts, not in them: an artifact's digest says what it is, not how it came to be.
"""

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from endpoints.building.artifact import artifact_digest, artifact_directory, looks_whole
from endpoints.building.errors import RecipeError

BUILD, MODEL, SOURCES, DECLARATION = "build.py", "model.py", "sources.txt", "endpoint.yaml"
NOT_IN_ARTIFACT = frozenset({"rules.py"})  # the gateway's last rung; no build reads it
SHAPING = ("artifact.py", "graph.py", "recipe.py", "sources.py")  # of this package: what can change an artifact's bytes
SHAPING_PACKAGES = ("numpy", "onnx", "onnxruntime", "scikit-learn", "scipy", "tokenizers")


@dataclass(frozen=True, slots=True)
class Recipe:
    """One endpoint to build.

    Attributes:
        endpoint: Its name: that of its folder.
        folder: The folder.
        task: The task contract that its declaration names.
        digest: SHA-256 over everything that can change its artifacts.
    """

    endpoint: str
    folder: Path
    task: str
    digest: str


def read_recipe(folder: Path) -> Recipe:
    """Reads the recipe of one endpoint's folder, without running any of it.

    Raises:
        RecipeError: sources.txt or a declaration with a task is missing.
    """
    declaration = folder / DECLARATION
    try:
        task = yaml.safe_load(declaration.read_text(encoding="utf-8"))["task"]
        (folder / SOURCES).read_bytes()
    except (FileNotFoundError, yaml.YAMLError, KeyError, TypeError) as error:
        raise RecipeError(f"{folder} needs {SOURCES}, and {DECLARATION} with a task") from error
    own = Path(__file__).parent
    files = sorted(path for path in folder.rglob("*.py") if path.name not in NOT_IN_ARTIFACT)
    files += [folder / SOURCES, *(own / name for name in SHAPING)]
    parts = [str(task), *(f"{name}=={_version(name)}" for name in SHAPING_PACKAGES)]
    parts += [f"{path.name}:{hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]
    return Recipe(folder.name, folder, str(task), hashlib.sha256("\n".join(parts).encode()).hexdigest())


def find_endpoints(endpoints: Path, names: tuple[str, ...]) -> list[Path]:
    """The folders to build: all that hold a ``build.py``, or those named.

    Raises:
        RecipeError: A name without such a folder.
    """
    found = {path.parent.name: path.parent for path in sorted(endpoints.glob(f"*/{BUILD}"))}
    unknown = sorted(set(names) - set(found))
    if unknown:
        raise RecipeError(f"no {BUILD} for {', '.join(unknown)}; there is one for {', '.join(found) or 'no endpoint'}")
    return [found[name] for name in (names or found)]


def record_path(root: Path, endpoint: str) -> Path:
    """Where the last build of an endpoint is recorded: beside its versions."""
    return root / f"{endpoint}.recipe"


def recorded(recipe: Recipe, root: Path) -> dict[str, str]:
    """Versions that are there, whole, and made by this very recipe, with their artifacts' digests."""
    try:
        record = json.loads(record_path(root, recipe.endpoint).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    if record.get("recipe") != recipe.digest:
        return {}
    return {
        version: digest
        for version, digest in sorted(record["versions"].items(), key=lambda made: record["all"].index(made[0]))
        if looks_whole(artifact_directory(root, recipe.endpoint, version))
        and artifact_digest(artifact_directory(root, recipe.endpoint, version)) == digest
    }


def is_complete(recipe: Recipe, root: Path, made: dict[str, str]) -> bool:
    """Whether ``made`` is everything that the recorded build of this recipe was to make."""
    try:
        record = json.loads(record_path(root, recipe.endpoint).read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return set(made) == set(record["all"])


def record(recipe: Recipe, root: Path, *, versions: tuple[str, ...], made: dict[str, str]) -> None:
    """Records what has been made so far, out of ``versions``."""
    path = record_path(root, recipe.endpoint)
    text = json.dumps({"recipe": recipe.digest, "all": list(versions), "versions": made}, sort_keys=True) + "\n"
    partial = path.with_name(f".{path.name}")
    partial.write_text(text, encoding="ascii")
    partial.replace(path)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "absent"
