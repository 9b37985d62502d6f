"""Callers that sign with AWS credentials: which role or user a signature stands for, and what it was granted.

API Gateway checks the signature and says who signed, in `requestContext.identity`; nothing here reads a header. A role
appears there as a session of it, `arn:aws:sts::<account>:assumed-role/<role>/<session>`, in which the role's path is
missing; so grants name roles without their path, which is no loss: names of roles are unique in an account.
Source: IAM user guide, "IAM identifiers" and "Policy elements: Principal".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.authentication.remembered import Decided, Remembered
from headrace.authentication.revocation import RevocationStore, is_revoked, tenant_mark
from headrace.errors import Forbidden, StoreUnavailable
from headrace.gateway import IAM_PREFIX
from headrace.identity import Principal, is_plan, is_scope, is_tenant

NEVER = float("inf")
SIGNED_RESOURCE = f"{IAM_PREFIX}/{{proxy+}}"
"""The one resource whose methods API Gateway authorizes by IAM."""
_NAME = r"[A-Za-z0-9+=,.@_-]{1,64}"
_PATH = r"(?:[!-.0-~]{1,128}/){0,16}"
_SESSION = re.compile(rf"arn:(aws[a-z-]*):sts::([0-9]{{12}}):assumed-role/({_NAME})/{_NAME}")
_ROLE = re.compile(rf"arn:(aws[a-z-]*):iam::([0-9]{{12}}):role/{_PATH}({_NAME})")
_USER = re.compile(rf"arn:aws[a-z-]*:iam::([0-9]{{12}}):user/{_PATH}{_NAME}")
_REFUSAL = "This AWS identity is not a caller of this API."


@dataclass(frozen=True, slots=True)
class IamGrant:
    """What a role or user may do, and for which tenant."""

    arn: str
    tenant: str
    plan: str
    scopes: frozenset[str]


class GrantStore(Protocol):
    """Where grants live."""

    def get(self, arn: str) -> IamGrant | None:
        """The grant of a role or user, or None.

        Raises:
            StoreUnavailable: it cannot be told.
        """

    def put(self, grant: IamGrant) -> None:
        """Write a grant in place of any earlier one of the same ARN."""

    def remove(self, arn: str) -> bool:
        """End a grant; False when there was none."""


def is_signed(request_context: Mapping[str, Any]) -> bool:
    """Whether API Gateway checked an AWS signature: by the resource that it matched, never by the path as sent.

    A path such as `//aws/…` looks signed and reaches the API by another resource.
    """
    return request_context.get("resourcePath") == SIGNED_RESOURCE


def granted_arn(arn: str) -> str:
    """The role or user that an ARN stands for: a session's role, a role without its path, a user as it is.

    Raises:
        ValueError: it is none of these; root, federated users and services are never callers.
    """
    if match := _SESSION.fullmatch(arn) or _ROLE.fullmatch(arn):
        partition, account, name = match.groups()
        return f"arn:{partition}:iam::{account}:role/{name}"
    if _USER.fullmatch(arn):
        return arn
    raise ValueError("name a role (arn:aws:iam::<account>:role/<name>), a session of one, or a user")


def grant(arn: str, *, tenant: str, plan: str, scopes: frozenset[str]) -> IamGrant:
    """A grant that can be stored.

    Raises:
        ValueError: the ARN, the tenant, the plan or a scope cannot be used.
    """
    if not is_tenant(tenant) or not is_plan(plan):
        raise ValueError("tenant and plan must be 1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit")
    if unknown := sorted(scope for scope in scopes if not is_scope(scope)):
        raise ValueError(f"unknown scopes {', '.join(unknown)}")
    return IamGrant(granted_arn(arn), tenant, plan, scopes)


class IamCallers:
    """Signed callers by what API Gateway says of them. One per process.

    Args:
        wall: seconds since the epoch.
        lock: where several threads ask.
    """

    def __init__(
        self,
        *,
        grants: GrantStore,
        revocations: RevocationStore,
        wall: Callable[[], float],
        lock: AbstractContextManager[Any] | None = None,
    ) -> None:
        self._grants = grants
        self._revocations = revocations
        self._wall = wall
        self._remembered = Remembered(wall=wall, lock=lock)

    def principal(self, identity: Mapping[str, Any]) -> Principal:
        """The caller behind `requestContext.identity` of a method that API Gateway authorizes by IAM.

        Raises:
            Forbidden: AWS knows the caller, and we do not, or its tenant is blocked.
            StoreUnavailable: it cannot be told now.
        """
        arn = self._arn(identity)
        name = hashlib.sha256(arn.encode()).digest()
        if known := self._remembered.principal(name):
            return known
        now = self._wall()
        try:
            principal = self._granted(arn, key_id=f"iam-{name.hex()[:16]}")
        except Forbidden as refusal:
            self._remembered.note(name, Decided.refused(refusal, now=now))
            raise
        except StoreUnavailable:
            if known := self._remembered.in_doubt(name):
                return known
            raise
        self._remembered.note(name, Decided.good(principal, now=now, expires_at=NEVER))
        return principal

    def _arn(self, identity: Mapping[str, Any]) -> str:
        user, account = identity.get("userArn"), identity.get("accountId")
        try:
            arn = granted_arn(user) if isinstance(user, str) else ""
        except ValueError:
            arn = ""
        # Both come from API Gateway; where they disagree, something else wrote them.
        if not arn or not isinstance(account, str) or arn.split(":")[4] != account:
            raise Forbidden(_REFUSAL)
        return arn

    def _granted(self, arn: str, *, key_id: str) -> Principal:
        found = self._grants.get(arn)
        if found is None or is_revoked(0, self._revocations.standing((tenant_mark(found.tenant),))):
            raise Forbidden(_REFUSAL)
        return Principal(tenant=found.tenant, plan=found.plan, scopes=found.scopes, key_id=key_id)
