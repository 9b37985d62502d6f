"""Makes artifacts: runs an endpoint's build into a scratch folder and puts the result in its place in one move."""

import fcntl
import importlib
import shutil
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from endpoints.building.artifact import artifact_digest, artifact_directory, read_manifest, size_bytes, write_manifest
from endpoints.building.errors import RecipeError
from endpoints.building.recipe import MODEL, SOURCES, Recipe, is_complete, read_recipe, record, recorded
from endpoints.building.sources import Sources, read_pins

SCRATCH = ".making-"

Report = Callable[[str, float | None], None]


class BuildModule(Protocol):
    """What an endpoint's build.py holds."""

    VERSIONS: tuple[str, ...]

    def build(self, version: str, *, sources: Sources, out: Path) -> dict[str, float]:
        """Writes one version's files into ``out`` and returns what was measured of it."""


@dataclass(frozen=True, slots=True)
class Built:
    """One artifact, made now or before.

    Attributes:
        endpoint: Its endpoint.
        version: Its version.
        digest: The artifact's digest.
        metrics: What its build measured.
        size_bytes: All its files together.
        made_in_s: Seconds it took, or None when it was there already.
    """

    endpoint: str
    version: str
    digest: str
    metrics: dict[str, float]
    size_bytes: int
    made_in_s: float | None


def build_endpoint(
    folder: Path, *, root: Path, cache: Path, report: Report, clock: Callable[[], float] = time.monotonic
) -> Iterator[Built]:
    """Builds every version of one endpoint that is missing or whose recipe has changed.

    Args:
        folder: The endpoint's folder.
        root: Where artifacts live.
        cache: Where downloads live.
        report: Told what is being done.
        clock: Seconds that only grow.

    Yields:
        Each version in turn, when it is in its place.

    Raises:
        BuildError: With a message that says what to do; nothing half made is left.
    """
    recipe = read_recipe(folder)
    made = recorded(recipe, root)
    if is_complete(recipe, root, made):
        yield from (_describe(root, recipe.endpoint, version, made_in_s=None) for version in made)
        return
    module = _load(recipe)
    for version in module.VERSIONS:
        took_s = None
        if version not in made:
            began_s = clock()
            made[version] = _make(recipe, module, version, root=root, cache=cache, report=report)
            record(recipe, root, versions=module.VERSIONS, made=made)
            took_s = clock() - began_s
        yield _describe(root, recipe.endpoint, version, made_in_s=took_s)


@contextmanager
def only_build(root: Path, *, report: Report) -> Iterator[None]:
    """Holds the artifacts' folder for one build at a time, and sweeps away what a killed one left."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another build to finish", None)
            fcntl.flock(lock, fcntl.LOCK_EX)
        for left in root.glob(f"*/{SCRATCH}*"):
            shutil.rmtree(left)
        yield


def _make(recipe: Recipe, module: BuildModule, version: str, *, root: Path, cache: Path, report: Report) -> str:
    place = artifact_directory(root, recipe.endpoint, version)
    place.parent.mkdir(parents=True, exist_ok=True)
    pins = read_pins(recipe.folder / SOURCES)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=SCRATCH) as scratch:
        out = Path(scratch) / "new"
        out.mkdir()
        metrics = module.build(version, sources=Sources(pins, cache, report), out=out)
        if (recipe.folder / MODEL).is_file():
            shutil.copyfile(recipe.folder / MODEL, out / MODEL)
        sources = [
            {"package": pin.package, "version": pin.version, "sha256": pin.sha256, "licence": pin.licence}
            for pin in pins
        ]
        digest = write_manifest(
            out, endpoint=recipe.endpoint, version=version, task=recipe.task, metrics=metrics, sources=sources
        )
        if (
            place.exists()
        ):  # a directory cannot be replaced by a rename, so the old one steps aside into the scratch folder
            place.rename(Path(scratch) / "old")
        out.rename(place)
    return digest


def _load(recipe: Recipe) -> BuildModule:
    """Imports build.py as ``endpoints.<name>.build``, from whichever folder of endpoints it lies in."""
    package = f"endpoints.{recipe.endpoint}"
    known = sys.modules.get(package)
    if known is None or str(recipe.folder) not in known.__path__:
        for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
            del sys.modules[name]
        module = types.ModuleType(package)
        module.__path__ = [str(recipe.folder)]
        sys.modules[package] = module
    loaded = importlib.import_module(f"{package}.build")
    if not isinstance(getattr(loaded, "VERSIONS", None), tuple) or not callable(getattr(loaded, "build", None)):
        raise RecipeError(
            f"{recipe.folder}/build.py needs VERSIONS, a tuple of names, and build(version, *, sources, out)"
        )
    return cast("BuildModule", loaded)


def _describe(root: Path, endpoint: str, version: str, *, made_in_s: float | None) -> Built:
    directory = artifact_directory(root, endpoint, version)
    metrics = read_manifest(directory)["metrics"]
    return Built(endpoint, version, artifact_digest(directory), metrics, size_bytes(directory), made_in_s)
