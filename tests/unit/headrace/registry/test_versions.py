"""Which registrations and decisions are allowed."""

from dataclasses import replace

import pytest

from headrace.registry.contract import Contract, Port
from headrace.registry.versions import (
    WHY_MAX_CHARS,
    Candidate,
    Measured,
    Registered,
    RegistryRefusal,
    State,
    already,
    check_contract,
    check_decision,
    check_why,
    find,
    from_properties,
    in_force,
    object_key,
    to_properties,
)

CANDIDATE = Candidate(
    endpoint="detection",
    version="v2",
    digest=f"sha256:{'a' * 64}",
    contract_digest=f"sha256:{'b' * 64}",
    api_version=1,
    measured=Measured(latency_p50_ms=1.5, latency_p99_ms=9.25, requests=200, size_bytes=35_000_000, golden=2),
    record="registrations/c.json",
    by="arn:aws:sts::123456789012:assumed-role/operator/anna",
)
CONTRACT = Contract(
    task="tensors", api_version=1, inputs=(Port("x", "FP32", (-1,)),), outputs=(Port("y", "FP32", (1,)),)
)


def registered(number: int, state: State = State.PENDING, **changes: object) -> Registered:
    """A version in the registry."""
    return Registered(
        candidate=replace(CANDIDATE, **changes),  # type: ignore[arg-type]
        package=f"arn:aws:sagemaker:eu-west-1:123456789012:model-package/x/{number}",
        number=number,
        state=state,
    )


def test_properties_hold_a_candidate() -> None:
    """What is written beside a package is read back as it was, within SageMaker's bounds."""
    properties = to_properties(CANDIDATE)
    assert from_properties("detection", properties) == CANDIDATE
    assert len(properties) <= 50
    assert all(len(key) <= 128 and len(value) <= 256 for key, value in properties.items())


@pytest.mark.parametrize("properties", [{}, {"version": "v1"}, {**to_properties(CANDIDATE), "size_bytes": "many"}])
def test_foreign_packages_are_passed_over(properties: dict[str, str]) -> None:
    """A package that something else put into the group is no version of ours."""
    assert from_properties("detection", properties) is None


def test_artifacts_lie_where_endpoints_look() -> None:
    """The archive's key is the one that the models of a stage are made from."""
    assert object_key(f"sha256:{'a' * 64}") == f"{'a' * 64}/model.tar.gz"


def test_a_version_is_registered_once() -> None:
    """The same artifact under the same name is the same registration."""
    known = registered(1)
    assert already(CANDIDATE, [known]) is known
    assert already(replace(CANDIDATE, version="v3"), [known]) is None
    assert already(CANDIDATE, [registered(1, State.REJECTED)]) is None


def test_a_name_is_one_artifact() -> None:
    """Another artifact needs another name, until the first one is rejected."""
    other = f"sha256:{'d' * 64}"
    with pytest.raises(RegistryRefusal, match="name of its own"):
        already(CANDIDATE, [registered(1, State.APPROVED, digest=other)])
    assert already(CANDIDATE, [registered(1, State.REJECTED, digest=other)]) is None


def test_the_newest_that_stands_binds() -> None:
    """A rejected version's contract binds nobody."""
    versions = [registered(1, State.APPROVED), registered(2), registered(3, State.REJECTED)]
    found = in_force(versions)
    assert found is not None
    assert found.number == 2
    assert in_force([registered(1, State.REJECTED)]) is None


def test_a_name_means_its_newest_registration_that_stands() -> None:
    """After a rejection the name is free, and then means the new one."""
    versions = [registered(1, State.REJECTED), registered(2, State.APPROVED), registered(3, State.REJECTED)]
    assert find(versions, "v2").number == 2
    assert find(versions[:1], "v2").number == 1
    with pytest.raises(RegistryRefusal, match="registered are: v2"):
        find(versions, "v9")


def test_a_broken_contract_needs_a_new_api_version() -> None:
    """The refusal names every difference and the number to declare; that number is then enough."""
    after = replace(CONTRACT, inputs=(Port("x", "FP64", (-1,)),), labels=("a",))
    with pytest.raises(RegistryRefusal, match=r"inputs\.x\.datatype: FP32 -> FP64.*labels.*declare api_version: 2"):
        check_contract(after, CONTRACT, against="detection v1")
    check_contract(replace(after, api_version=2), CONTRACT, against="detection v1")
    check_contract(CONTRACT, CONTRACT, against="detection v1")
    with pytest.raises(RegistryRefusal, match="below 2"):
        check_contract(CONTRACT, replace(CONTRACT, api_version=2), against="detection v1")


def test_decisions() -> None:
    """Pending to either; approved to rejected; never back from rejected; the same again changes nothing."""
    assert check_decision(registered(1), State.APPROVED)
    assert check_decision(registered(1), State.REJECTED)
    assert check_decision(registered(1, State.APPROVED), State.REJECTED)
    assert not check_decision(registered(1, State.APPROVED), State.APPROVED)
    with pytest.raises(RegistryRefusal, match="register it again"):
        check_decision(registered(1, State.REJECTED), State.APPROVED)


@pytest.mark.parametrize("why", ["", "  \n ", "x" * (WHY_MAX_CHARS + 1), "a\x1b[31mred"])
def test_a_decision_has_a_reason(why: str) -> None:
    """No reason, too long a one, or one that would write to a terminal is refused."""
    with pytest.raises(RegistryRefusal, match="Say why"):
        check_why(why)


def test_a_reason_is_one_line() -> None:
    """Line ends become spaces."""
    assert check_why(" good\n enough ") == "good enough"
