"""A declaration, and the artifact of one of its versions: built by the endpoint's build.py, taken, or found."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from headrace.declaration.parse import parse_declaration
from headrace.declaration.schema import EndpointDeclaration
from headrace_cli.problems import Problem, UsageProblem, plain

DECLARATION, BUILD = "endpoint.yaml", "build.py"
NO_CHECKOUT = "This command runs in a checkout of Headrace, with what `make run` installs: {}."

Tell = Callable[[str], None]


def read_declaration(file: Path) -> EndpointDeclaration:
    """An ``endpoint.yaml``.

    Raises:
        Problem: it is missing or wrong; the first problem, with its line, and how many more there are.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Problem(f"{file}: not UTF-8: save it as UTF-8.") from error
    except OSError as error:
        raise Problem(f"{file}: cannot be read: {error.strerror}.") from error
    declaration, problems = parse_declaration(text, source=str(file))
    if declaration is None:
        more = f" (and {len(problems) - 1} more: make lint)" if len(problems) > 1 else ""
        raise Problem(f"{plain(problems[0])}{more}")
    return declaration


def find_artifact(
    folder: Path,
    declaration: EndpointDeclaration,
    version: str,
    *,
    model: Path | None,
    example: Path | None,
    environment: Mapping[str, str],
    tell: Tell,
) -> Path:
    """The artifact of a version, made where it is not there.

    Raises:
        Problem: it cannot be made or taken, or is not there.
    """
    from endpoints.building.__main__ import CACHE_VARIABLE, DEFAULT_CACHE
    from endpoints.building.artifact import artifact_directory, artifacts_root, looks_whole
    from endpoints.building.builder import build_endpoint, only_build
    from endpoints.building.errors import BuildError

    repository = folder.parent.parent
    root = artifacts_root(repository, environment)
    place = artifact_directory(root, declaration.name, version)
    built = (folder / BUILD).is_file()

    def report(text: str, fraction: float | None) -> None:
        if fraction is None:
            tell(text)

    if model is not None:
        from endpoints.inspecting import RefusedError
        from endpoints.inspecting.inspection import take

        if built:
            raise UsageProblem(f"{folder / BUILD} makes this endpoint's artifacts: leave --model out.")
        tell(f"inspecting {model}")
        try:
            take(
                model,
                example=example,
                endpoint=declaration.name,
                version=version,
                task=declaration.task,
                out=place,
                accept=lambda made, digest: check_pin(declaration, version, made, digest),
            )
        except RefusedError as refused:
            raise Problem(str(refused)) from refused
        return place
    if example is not None:
        raise UsageProblem("--example goes with --model.")
    if built:
        try:
            with only_build(root, report=report):
                cache = repository / environment.get(CACHE_VARIABLE, DEFAULT_CACHE)
                made = [each.version for each in build_endpoint(folder, root=root, cache=cache, report=report)]
        except BuildError as error:
            raise Problem(f"{declaration.name} was not built: {plain(error)}") from error
        if version not in made:
            raise Problem(f"{folder / BUILD} makes no version {version}; it makes {', '.join(made)}.")
    if not looks_whole(place):
        raise Problem(f"There is no artifact in {place}: give --model FILE, or write a {BUILD}.")
    return place


def check_pin(declaration: EndpointDeclaration, version: str, artifact: Path, digest: str) -> None:
    """An artifact that is not the declared one must reach the declared floor, as it must to be run.

    Raises:
        Problem: it does not.
    """
    pinned = declaration.versions.get(version)
    if pinned is None or pinned.artifact == digest:
        return
    metrics = json.loads((artifact / "manifest.json").read_bytes()).get("metrics", {})
    short = [name for name, floor in pinned.floor.items() if not metrics.get(name, float("-inf")) >= floor]
    if not pinned.floor or short:
        below = f", below its floor in {', '.join(short)}" if short else ""
        raise Problem(
            f"The artifact of {version} is {digest}{below}; declared is {pinned.artifact}: declare what you mean."
        )


def check_graph(artifact: Path) -> None:
    """Refuse a graph that must not be loaded, whoever made it.

    Raises:
        Problem: it must not.
    """
    from endpoints.inspecting import RefusedError
    from endpoints.inspecting.inspection import read_only

    try:
        read_only(artifact / "model.onnx")
    except RefusedError as refused:
        raise Problem(str(refused)) from refused
