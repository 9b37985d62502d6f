"""What is done with versions that are registered: shown, decided on, compared."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from headrace.registry.contract import Difference, differences
from headrace.registry.versions import Registered, RegistryRefusal, State, check_decision, check_why, find
from headrace_cli.problems import Problem

if TYPE_CHECKING:
    from headrace_aws.registry import ModelRegistry


def listed(registry: "ModelRegistry", endpoint: str | None) -> list[Registered]:
    """The registered versions of an endpoint, or of all, newest first within each.

    Raises:
        Problem: there can be no endpoint of that name.
    """
    try:
        endpoints = registry.endpoints() if endpoint is None else [endpoint]
        return [each for name in endpoints for each in reversed(registry.versions(name))]
    except RegistryRefusal as refusal:
        raise Problem(str(refusal)) from refusal


def decide(
    registry: "ModelRegistry", endpoint: str, version: str, *, reject: bool, why: str, who: str
) -> tuple[Registered, bool]:
    """Approves or rejects a version; says whether that was new.

    Raises:
        Problem: it is not registered, no reason is given, or it was rejected before.
    """
    wanted = State.REJECTED if reject else State.APPROVED
    try:
        reason = check_why(why)
        registered = find(registry.versions(endpoint), version)
        if not check_decision(registered, wanted):
            return registered, False
        return registry.decide(registered, wanted, why=reason, who=who), True
    except RegistryRefusal as refusal:
        raise Problem(str(refusal)) from refusal


def compare(registry: "ModelRegistry", endpoint: str, before: str, after: str) -> tuple[Difference, ...]:
    """How the contracts of two registered versions differ.

    Raises:
        Problem: one of them is not registered.
    """
    try:
        versions = registry.versions(endpoint)
        first, second = (registry.contract(find(versions, name)) for name in (before, after))
    except RegistryRefusal as refusal:
        raise Problem(str(refusal)) from refusal
    return differences(first, second)


def describe(registered: Registered) -> dict[str, Any]:
    """A registered version as JSON."""
    candidate = asdict(registered.candidate)
    measured = candidate.pop("measured")
    return {
        **candidate,
        **measured,
        "state": registered.state.value,
        "why": registered.why,
        "number": registered.number,
        "package": registered.package,
        "created_at": registered.created_at,
    }
