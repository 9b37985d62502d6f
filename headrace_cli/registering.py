"""From an endpoint's folder to a registered version: built, served, asked, timed, compared, stored.

Everything that can refuse comes before anything is written to the account.
"""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.declaration.schema import EndpointDeclaration
from headrace.declaration.shape import VERSION_PATTERN
from headrace.registry.contract import Contract
from headrace.registry.promised import contract_of
from headrace.registry.versions import (
    Candidate,
    Measured,
    Registered,
    RegistryRefusal,
    already,
    check_contract,
    in_force,
)
from headrace_cli.artifacts import (
    DECLARATION,
    NO_CHECKOUT,
    Tell,
    check_graph,
    check_pin,
    find_artifact,
    read_declaration,
)
from headrace_cli.problems import Problem, UsageProblem

if TYPE_CHECKING:
    from headrace_aws.registry import ModelRegistry
    from headrace_cli.trying import Tried

RECORD_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A version that has passed every check that needs no account."""

    declaration: EndpointDeclaration
    version: str
    artifact: Path
    digest: str
    contract: Contract
    tried: "Tried"
    size_bytes: int


def prepare(
    folder: Path, version: str, *, model: Path | None, example: Path | None, environment: Mapping[str, str], tell: Tell
) -> Ready:
    """Builds or takes a version's artifact and checks it by itself.

    Args:
        folder: the endpoint's.
        version: the version's name.
        model: an ONNX file that becomes the artifact; None for what build.py makes, or what is there.
        example: a request that it takes.
        environment: variables; where artifacts and downloads are may be among them.
        tell: told what is being done.

    Raises:
        Problem: it is not fit to be registered.
    """
    if not re.fullmatch(VERSION_PATTERN, version):
        raise UsageProblem("A version's name is lower-case letters, digits and '-', at most 31.")
    folder = folder.resolve()
    declaration = read_declaration(folder / DECLARATION)
    if declaration.name != folder.name:
        raise Problem(f"{folder / DECLARATION}: name must be the name of its folder, {folder.name}.")
    golden = [each for each in declaration.golden if not each.versions or version in each.versions]
    if not golden:
        raise Problem(f"{folder / DECLARATION}: declares no golden request for {version}, which it is checked by.")
    try:
        from endpoints.building.artifact import artifact_digest, size_bytes
    except ImportError as error:
        raise Problem(NO_CHECKOUT.format(error.name)) from error
    artifact = find_artifact(
        folder, declaration, version, model=model, example=example, environment=environment, tell=tell
    )
    digest = artifact_digest(artifact)
    check_pin(declaration, version, artifact, digest)
    check_graph(artifact)
    from headrace_cli.trying import try_artifact

    tried = try_artifact(artifact, declaration=declaration, folder=folder, golden=golden, digest=digest, tell=tell)
    try:
        contract = contract_of(declaration, tried.metadata)
    except RegistryRefusal as refusal:
        raise Problem(str(refusal)) from refusal
    return Ready(
        declaration=declaration,
        version=version,
        artifact=artifact,
        digest=digest,
        contract=contract,
        tried=tried,
        size_bytes=size_bytes(artifact),
    )


def submit(ready: Ready, registry: "ModelRegistry", *, who: str, tell: Tell) -> tuple[Registered, bool]:
    """Stores and registers a version, unless it is registered already; says whether it was new.

    Raises:
        Problem: the registry refuses it: another artifact has its name, or callers would break.
    """
    from endpoints.building import pack

    name = ready.declaration.name
    try:
        versions = registry.versions(name)
        measured = Measured(
            latency_p50_ms=ready.tried.latency_p50_ms,
            latency_p99_ms=ready.tried.latency_p99_ms,
            requests=ready.tried.requests,
            size_bytes=ready.size_bytes,
            golden=len(ready.tried.golden),
        )
        candidate = Candidate(
            endpoint=name,
            version=ready.version,
            digest=ready.digest,
            contract_digest=ready.contract.digest,
            api_version=ready.contract.api_version,
            measured=measured,
            record="",
            by=who,
        )
        if known := already(candidate, versions):
            return known, False
        if (standing := in_force(versions)) is not None:
            check_contract(ready.contract, registry.contract(standing), against=f"{name} {standing.version}")
        if not registry.has_artifact(ready.digest):
            tell(f"storing {ready.digest}")
            with tempfile.TemporaryDirectory() as scratch:
                registry.store_artifact(ready.digest, pack(ready.artifact, Path(scratch) / "model.tar.gz"))
        record = registry.store_record(_record(ready, candidate))
        candidate = replace(candidate, record=record)
        return registry.register(candidate, image=registry.image(name), after=len(versions)), True
    except RegistryRefusal as refusal:
        raise Problem(str(refusal)) from refusal


def _record(ready: Ready, candidate: Candidate) -> dict[str, Any]:
    manifest = json.loads((ready.artifact / "manifest.json").read_bytes())
    return {
        "format": RECORD_FORMAT,
        "endpoint": candidate.endpoint,
        "version": candidate.version,
        "digest": candidate.digest,
        "contract": ready.contract.document(),
        "measured": asdict(candidate.measured),
        "golden": list(ready.tried.golden),
        "metrics": manifest.get("metrics", {}),
        "sources": manifest.get("sources", []),
        "machine": {"cores": os.cpu_count() or 0},
        "by": candidate.by,
    }
