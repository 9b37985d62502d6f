"""Who calls, and what they may do. Only the authorizer makes these values; nothing in a body or header can."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.errors import Forbidden

INVOKE = "invoke"
"""Call any model; `invoke:<name>` allows one."""
READ = "read"
"""List models and read their metadata."""
SCOPES = frozenset({INVOKE, READ})


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

    def require_invoke(self, endpoint: str) -> None:
        """Deny by default.

        Raises:
            Forbidden: the caller has neither `invoke` nor `invoke:<endpoint>`.
        """
        if not self.may_invoke(endpoint):
            raise Forbidden(f"This key lacks the scope {INVOKE}:{endpoint}.")

    def require_read(self) -> None:
        """Deny by default.

        Raises:
            Forbidden: the caller lacks `read`.
        """
        if READ not in self.scopes:
            raise Forbidden(f"This key lacks the scope {READ}.")
