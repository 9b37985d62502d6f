"""What to run: the declarations beside the artifacts that were built for them, checked before anything starts."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from headrace.catalog import dump
from headrace.declaration.compile import compile_catalog
from headrace.declaration.files import read_declarations, read_plans
from headrace.declaration.schema import EndpointDeclaration, VersionDeclaration
from headrace.errors import InvalidDeclarations
from headrace.plans import Plan as TenantPlan


class PlanError(Exception):
    """What is declared cannot be run; the message lists every reason and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionPlan:
    """One model version as it will run.

    Attributes:
        name: The version's name, which is also its variant's.
        digest: The artifact's digest as found on disk.
        folder: The artifact's folder.
        hosted: Whether it runs behind the SageMaker endpoint; else the fallback function loads it.
        weight: Its share of the endpoint's traffic.
    """

    name: str
    digest: str
    folder: Path
    hosted: bool
    weight: int

    @property
    def object_key(self) -> str:
        """Where its archive lies in the artifacts bucket."""
        return f"{self.digest.removeprefix('sha256:')}/model.tar.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointPlan:
    """One endpoint as it will run.

    Attributes:
        declaration: The declaration, with the digests found on disk.
        versions: Its versions, in the order declared.
    """

    declaration: EndpointDeclaration
    versions: tuple[VersionPlan, ...]

    @property
    def name(self) -> str:
        """The endpoint's short name."""
        return self.declaration.name

    @property
    def hosted(self) -> tuple[VersionPlan, ...]:
        """The versions that get a serving process."""
        return tuple(version for version in self.versions if version.hosted)

    def serving_environment(self, version: VersionPlan) -> dict[str, str]:
        """Returns the serving program's variables for one version."""
        batching = self.declaration.batching
        return {
            "HEADRACE_ARTIFACT_DIGEST": version.digest,
            "HEADRACE_BATCH_MAX_SIZE": str(batching.max_size),
            "HEADRACE_BATCH_MAX_DELAY_MS": str(batching.max_delay_ms),
            "HEADRACE_QUEUE_MAX": str(batching.queue_max),
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything to run."""

    endpoints: tuple[EndpointPlan, ...]
    tenant_plans: dict[str, TenantPlan] = field(default_factory=dict)

    def catalog(self) -> str:
        """Returns the catalog that the functions read, as JSON."""
        return dump(compile_catalog([endpoint.declaration for endpoint in self.endpoints], self.tenant_plans))


def read_plan(endpoints: Path, artifacts: Path) -> Plan:
    """Reads the declarations and finds their artifacts.

    Args:
        endpoints: The folder with one folder per endpoint.
        artifacts: The folder with ``<endpoint>/<version>/manifest.json``.

    Raises:
        PlanError: If a declaration is wrong, or an artifact is missing or not the one declared.
    """
    try:
        declarations, tenant_plans = read_declarations(endpoints), read_plans(endpoints)
    except InvalidDeclarations as error:
        raise PlanError(str(error)) from error
    problems: list[str] = []
    plans = [_endpoint_plan(declaration, artifacts, problems) for declaration in declarations]
    if problems:
        raise PlanError("\n".join(problems))
    return Plan(tuple(plans), tenant_plans)


def _endpoint_plan(declaration: EndpointDeclaration, artifacts: Path, problems: list[str]) -> EndpointPlan:
    versions = {}
    for name, version in declaration.versions.items():
        folder = artifacts / declaration.name / name
        digest = _accepted_digest(version, folder, where=f"{declaration.name}/{name}", problems=problems)
        versions[name] = VersionPlan(
            name=name,
            digest=digest,
            folder=folder.resolve(),
            hosted=version.hosting == "endpoint",
            weight=version.weight,
        )
    # A version rebuilt within its floor has another digest than declared: functions must look for the one that is here.
    found = {
        name: version.model_copy(update={"artifact": versions[name].digest})
        for name, version in declaration.versions.items()
    }
    return EndpointPlan(
        declaration=declaration.model_copy(update={"versions": found}), versions=tuple(versions.values())
    )


def _accepted_digest(version: VersionDeclaration, folder: Path, *, where: str, problems: list[str]) -> str:
    try:
        manifest = (folder / "manifest.json").read_bytes()
    except FileNotFoundError:
        problems.append(f"{where}: no artifact in {folder}: run `make models`")
        return version.artifact
    digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
    if digest == version.artifact:
        return digest
    metrics = json.loads(manifest).get("metrics", {})
    short = {name: floor for name, floor in version.floor.items() if not metrics.get(name, float("-inf")) >= floor}
    if not version.floor:
        problems.append(f"{where}: the artifact in {folder} is {digest}, declared is {version.artifact}")
    elif short:
        problems.append(f"{where}: the artifact in {folder} does not reach its floor: {short} against {metrics}")
    return digest
