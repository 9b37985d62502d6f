"""What is known of a registered version, and which registrations and approvals are allowed.

One name is one artifact: who says v2 must mean the same bytes everywhere. A rejected version frees its name, and is
registered anew rather than approved after all, so that what was measured of it is measured again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from headrace.registry.contract import Contract, broken

ARCHIVE = "model.tar.gz"
WHY_MAX_CHARS = 500
"""SageMaker keeps 1,024 characters beside an approval (UpdateModelPackage), with the name of who decided."""
PROPERTY_MAX_CHARS = 256
"""Of a CustomerMetadataProperties value (CreateModelPackage)."""
GROUP_MAX_CHARS = 63
"""Of a model package group's name (CreateModelPackageGroup)."""


class State(StrEnum):
    """Whether a version may be used; the words are SageMaker's."""

    PENDING = "PendingManualApproval"
    APPROVED = "Approved"
    REJECTED = "Rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured before registration. Latencies are of one request at a time, on the machine that registered."""

    latency_p50_ms: float
    latency_p99_ms: float
    requests: int
    size_bytes: int
    golden: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A version that is to be registered. `digest` is its artifact's, `record` the key of its whole record."""

    endpoint: str
    version: str
    digest: str
    contract_digest: str
    api_version: int
    measured: Measured
    record: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A version in the registry. `package` is its ARN, `number` counts the registrations of its endpoint."""

    candidate: Candidate
    package: str
    number: int
    state: State
    why: str = ""
    created_at: str = ""

    @property
    def version(self) -> str:
        """Its name."""
        return self.candidate.version


class RegistryRefusal(Exception):
    """The registry does not do it; the message says why and what to do."""


def object_key(digest: str) -> str:
    """Where an artifact lies in the artifacts bucket; the endpoints' models look there."""
    return f"{digest.removeprefix('sha256:')}/{ARCHIVE}"


def record_key(sha256: str) -> str:
    """Where the record of a registration lies in the same bucket."""
    return f"registrations/{sha256}.json"


def find(versions: Sequence[Registered], version: str) -> Registered:
    """The newest registration of a version that is not rejected, else the newest of all.

    Raises:
        RegistryRefusal: it is not registered.
    """
    named = sorted((each for each in versions if each.version == version), key=lambda each: each.number)
    if not named:
        known = ", ".join(dict.fromkeys(each.version for each in versions)) or "none"
        raise RegistryRefusal(f"Version {version} is not registered; registered are: {known}.")
    return next((each for each in reversed(named) if each.state is not State.REJECTED), named[-1])


def in_force(versions: Sequence[Registered]) -> Registered | None:
    """The version whose contract binds those that come: the newest that is not rejected."""
    standing = [each for each in versions if each.state is not State.REJECTED]
    return max(standing, key=lambda each: each.number, default=None)


def already(candidate: Candidate, versions: Sequence[Registered]) -> Registered | None:
    """The registration that says the same already, if there is one.

    Raises:
        RegistryRefusal: the name belongs to another artifact.
    """
    for each in versions:
        if each.version != candidate.version or each.state is State.REJECTED:
            continue
        if each.candidate.digest != candidate.digest:
            raise RegistryRefusal(
                f"{candidate.endpoint} {candidate.version} is registered as {each.candidate.digest} "
                f"({each.state}): give the new artifact a name of its own, or reject that one first."
            )
        if each.candidate.contract_digest == candidate.contract_digest:
            return each
    return None


def check_contract(after: Contract, before: Contract, *, against: str) -> None:
    """Hold a new version's contract against the one in force.

    Args:
        after: the new version's.
        before: the one in force.
        against: the version that it is of.

    Raises:
        RegistryRefusal: callers would break, and no new API version is declared; every difference is named.
    """
    if after.api_version < before.api_version:
        raise RegistryRefusal(f"api_version {after.api_version} is below {before.api_version}, which {against} has.")
    if after.api_version > before.api_version:
        return
    if found := broken(before, after):
        listed = "; ".join(str(difference) for difference in found)
        raise RegistryRefusal(
            f"The contract differs from that of {against}: {listed}. "
            f"Keep it, or declare api_version: {before.api_version + 1}."
        )


def check_decision(registered: Registered, wanted: State) -> bool:
    """Whether a decision changes anything.

    Raises:
        RegistryRefusal: a rejected version is not approved after all.
    """
    if registered.state is wanted:
        return False
    if registered.state is State.REJECTED:
        raise RegistryRefusal(f"{registered.version} was rejected: register it again, so that it is measured again.")
    return True


def check_why(why: str) -> str:
    """The reason for a decision.

    Raises:
        RegistryRefusal: there is none, or too much of it.
    """
    text = " ".join(why.split())
    if not text or not text.isprintable() or len(text) > WHY_MAX_CHARS:
        raise RegistryRefusal(f"Say why in one to {WHY_MAX_CHARS} characters.")
    return text


def to_properties(candidate: Candidate) -> dict[str, str]:
    """As CustomerMetadataProperties."""
    measured = candidate.measured
    return {
        "version": candidate.version,
        "digest": candidate.digest,
        "contract": candidate.contract_digest,
        "api_version": str(candidate.api_version),
        "latency_p50_ms": f"{measured.latency_p50_ms:.3f}",
        "latency_p99_ms": f"{measured.latency_p99_ms:.3f}",
        "latency_requests": str(measured.requests),
        "size_bytes": str(measured.size_bytes),
        "golden": str(measured.golden),
        "record": candidate.record,
        "by": candidate.by[:PROPERTY_MAX_CHARS],
    }


def from_properties(endpoint: str, properties: Mapping[str, str]) -> Candidate | None:
    """What `to_properties` wrote, or None for a package that something else put into the group."""
    try:
        return Candidate(
            endpoint=endpoint,
            version=properties["version"],
            digest=properties["digest"],
            contract_digest=properties["contract"],
            api_version=int(properties["api_version"]),
            measured=Measured(
                latency_p50_ms=float(properties["latency_p50_ms"]),
                latency_p99_ms=float(properties["latency_p99_ms"]),
                requests=int(properties["latency_requests"]),
                size_bytes=int(properties["size_bytes"]),
                golden=int(properties["golden"]),
            ),
            record=properties["record"],
            by=properties["by"],
        )
    except (KeyError, ValueError):
        return None
