"""Callers that sign with AWS credentials: which role a session stands for, and what it may do."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.authentication.api_keys import CACHE_TTL_S
from headrace.authentication.iam import IamCallers, grant, granted_arn, is_signed
from headrace.authentication.remembered import REFUSED_TTL_S
from headrace.authentication.revocation import FOREVER, tenant_mark
from headrace.errors import Forbidden
from headrace.fakes.authentication import FakeGrants, FakeRevocations

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/Batch"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/Batch/i-0123"


def identity(arn: Any = SESSION, account: Any = ACCOUNT) -> dict[str, Any]:
    """What API Gateway says of a signed caller."""
    return {"userArn": arn, "accountId": account, "caller": "AROAEXAMPLE:i-0123", "sourceIp": "192.0.2.1"}


class World:
    """Signed callers over fakes."""

    def __init__(self) -> None:
        """One role is granted."""
        self.now = 1000.0
        self.grants = FakeGrants()
        self.revocations = FakeRevocations()
        self.grants.put(grant(ROLE, tenant="acme", plan="gold", scopes=frozenset({"invoke:sentiment"})))
        self.callers = IamCallers(grants=self.grants, revocations=self.revocations, wall=lambda: self.now)

    def is_let_in(self, **changes: Any) -> bool:
        """Whether this identity may call."""
        try:
            return self.callers.principal(identity(**changes)).tenant == "acme"
        except Forbidden:
            return False


@pytest.mark.parametrize(
    ("arn", "granted"),
    [
        (SESSION, ROLE),
        (f"arn:aws:sts::{ACCOUNT}:assumed-role/Batch/someone@example.com", ROLE),
        (ROLE, ROLE),
        (f"arn:aws:iam::{ACCOUNT}:role/teams/data/Batch", ROLE),
        (f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/eu-west-1/Batch", ROLE),
        (f"arn:aws-cn:sts::{ACCOUNT}:assumed-role/Batch/s", f"arn:aws-cn:iam::{ACCOUNT}:role/Batch"),
        (f"arn:aws:iam::{ACCOUNT}:user/ci", f"arn:aws:iam::{ACCOUNT}:user/ci"),
        (f"arn:aws:iam::{ACCOUNT}:user/teams/ci", f"arn:aws:iam::{ACCOUNT}:user/teams/ci"),
    ],
)
def test_a_session_stands_for_its_role(arn: str, granted: str) -> None:
    """Sessions become their role, roles lose their path, users stay, in every partition."""
    assert granted_arn(arn) == granted
    assert granted_arn(granted) == granted


@pytest.mark.parametrize(
    "arn",
    [
        "",
        f"arn:aws:iam::{ACCOUNT}:root",
        f"arn:aws:sts::{ACCOUNT}:federated-user/bob",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/Batch",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/Batch/a/b",
        f"arn:aws:sts::{ACCOUNT}:assumed-role//s",
        f"arn:aws:iam::{ACCOUNT}:role/",
        f"arn:aws:iam::{ACCOUNT}:role/*",
        "arn:aws:iam::*:role/Batch",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/Batch/s\n",
        f"arn:gcp:sts::{ACCOUNT}:assumed-role/Batch/s",
        "AROAEXAMPLE:i-0123",
    ],
)
def test_what_is_no_role_or_user_is_refused(arn: str) -> None:
    """Root, federated users, wildcards and half an ARN name nobody who could be granted something."""
    with pytest.raises(ValueError, match="name a role"):
        granted_arn(arn)


@settings(deadline=None)
@given(st.text(max_size=80))
def test_no_text_breaks_the_normaliser(arn: str) -> None:
    """It is a role or user, or it is refused."""
    with pytest.raises(ValueError, match="name a role"):
        granted_arn(arn)


def test_a_granted_role_is_a_caller() -> None:
    """Tenant, plan and scopes are the grant's; the id is the same for all sessions of the role."""
    callers = World().callers
    first = callers.principal(identity())
    assert (first.tenant, first.plan, first.scopes) == ("acme", "gold", {"invoke:sentiment"})
    assert first.key_id.startswith("iam-")
    assert callers.principal(identity(f"arn:aws:sts::{ACCOUNT}:assumed-role/Batch/other")) == first


@pytest.mark.parametrize(
    "changes",
    [
        {"arn": None},
        {"arn": ""},
        {"arn": 5},
        {"account": None},
        {"account": "210987654321"},
        {"arn": SESSION.replace(ACCOUNT, "210987654321"), "account": "210987654321"},
        {"arn": SESSION.replace("Batch", "batch")},
        {"arn": f"arn:aws:iam::{ACCOUNT}:user/Batch"},
        {"arn": f"arn:aws:iam::{ACCOUNT}:root"},
    ],
)
def test_anybody_else_is_forbidden(changes: dict[str, Any]) -> None:
    """No identity, another account, another name, another kind: AWS may know them, and we do not."""
    assert not World().is_let_in(**changes)


def test_forbidding_and_blocking_end_in_time() -> None:
    """A role that is forbidden or whose tenant is blocked is out after `CACHE_TTL_S`, and in again as quickly."""
    world = World()
    assert world.is_let_in()
    world.revocations.revoke(tenant_mark("acme"), before=FOREVER)
    world.now += CACHE_TTL_S
    assert not world.is_let_in()
    world.revocations.lift(tenant_mark("acme"))
    world.now += REFUSED_TTL_S
    assert world.is_let_in()
    world.grants.remove(ROLE)
    world.now += CACHE_TTL_S
    assert not world.is_let_in()


@pytest.mark.parametrize(
    "changes",
    [{"tenant": "Acme"}, {"plan": ""}, {"scopes": frozenset({"root"})}, {"scopes": frozenset({"invoke:a read"})}],
)
def test_a_grant_that_could_not_be_used_is_refused(changes: dict[str, Any]) -> None:
    """Before it is stored."""
    with pytest.raises(ValueError, match=r"tenant|scopes"):
        grant(ROLE, **{"tenant": "acme", "plan": "gold", "scopes": frozenset({"read"}), **changes})


def test_what_was_signed_is_the_matched_resource() -> None:
    """The path is the caller's and proves nothing; the resource is API Gateway's."""
    assert is_signed({"resourcePath": "/aws/{proxy+}", "path": "/live/aws/v1/models"})
    assert not is_signed({"resourcePath": "/{proxy+}", "path": "/aws/v1/models"})
    assert not is_signed({"resourcePath": "/aws/{proxy+}/", "path": "/aws/{proxy+}"})
    assert not is_signed({})
