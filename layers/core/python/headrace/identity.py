"""Who calls, and what they may do. Only the authorizer makes these values; nothing in a body or header can."""

from __future__ import annotations

import re
from dataclasses import dataclass

from headrace.errors import Forbidden

INVOKE = "invoke"
"""Call any model; `invoke:<name>` allows one."""
READ = "read"
"""List models and read their metadata."""
SCOPES = frozenset({INVOKE, READ})

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_PLAN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_ONE_MODEL = re.compile(rf"{INVOKE}:[A-Za-z0-9][A-Za-z0-9._-]{{0,62}}")


def is_tenant(name: str) -> bool:
    """Whether this can name a tenant: 1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit."""
    return _TENANT.fullmatch(name) is not None


def is_plan(name: str) -> bool:
    """Whether this can name a plan; whether there is one of that name is the catalog's word."""
    return _PLAN.fullmatch(name) is not None


def is_scope(text: str) -> bool:
    """Whether this is one scope. Never true of two in one text: scopes travel joined by spaces."""
    return text in SCOPES or _ONE_MODEL.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `key_id` names the credential without revealing it."""

    tenant: str
    plan: str
    scopes: frozenset[str]
    key_id: str

    def may_invoke(self, endpoint: str) -> bool:
        """Whether this caller may call the endpoint."""
        return INVOKE in self.scopes or f"{INVOKE}:{endpoint}" in self.scopes

    @property
    def invokes(self) -> bool:
        """Whether this caller may call any endpoint at all."""
        return any(scope == INVOKE or scope.startswith(f"{INVOKE}:") for scope in self.scopes)

    def owns(self, key_id: str) -> bool:
        """Whether what came from the credential `key_id` is this caller's: the same one, as long as it may invoke.

        Tokens of one subject are one credential, whatever scopes each of them was given.
        """
        return self.invokes and (INVOKE in self.scopes or key_id == self.key_id)

    def require_invoke(self, endpoint: str) -> None:
        """Deny by default.

        Raises:
            Forbidden: the caller has neither `invoke` nor `invoke:<endpoint>`.
        """
        if not self.may_invoke(endpoint):
            raise Forbidden(f"This caller lacks the scope {INVOKE}:{endpoint}.")

    def require_read(self) -> None:
        """Deny by default.

        Raises:
            Forbidden: the caller lacks `read`.
        """
        if READ not in self.scopes:
            raise Forbidden(f"This caller lacks the scope {READ}.")
