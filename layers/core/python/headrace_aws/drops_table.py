"""Tenants whose incoming files start batches, in the keys table: one item each, `pk` = `drops#<tenant>`."""

from __future__ import annotations

from headrace.authentication.revocation import FOREVER, tenant_mark
from headrace.batches.ordering.incoming import DropGrant
from headrace.identity import is_plan, is_scope, is_tenant
from headrace_aws.keys_items import KeysItems, key
from headrace_aws.revocations_table import RevocationsTable


class DropsTable:
    """See `headrace.batches.ordering.incoming.DropGrants`."""

    def __init__(self, table: str) -> None:
        self._items = KeysItems(table)
        self._revocations = RevocationsTable(table, items=self._items)

    def get(self, tenant: str) -> DropGrant | None:
        """The grant, or None: never given, ended, or the tenant is blocked.

        Raises:
            StoreUnavailable: it cannot be told.
        """
        item = self._items.get(_pk(tenant))
        mark = tenant_mark(tenant)
        if item is None or self._revocations.standing([mark]).get(mark, 0) >= FOREVER:
            return None
        return DropGrant(tenant, item["plan"]["S"], frozenset(item["scopes"]["S"].split()))

    def put(self, grant: DropGrant) -> None:
        """Write a grant in place of any earlier one.

        Raises:
            ValueError: the tenant's name, the plan's or a scope cannot be used.
            StoreUnavailable: it may not have been written.
        """
        if not is_tenant(grant.tenant):
            raise ValueError("there can be no tenant of that name")
        if not is_plan(grant.plan):
            raise ValueError("there can be no plan of that name")
        if wrong := sorted(scope for scope in grant.scopes if not is_scope(scope)):
            raise ValueError(f"these are no scopes: {', '.join(wrong)}")
        self._items.put(
            {
                **key(_pk(grant.tenant)),
                "plan": {"S": grant.plan},
                "scopes": {"S": " ".join(sorted(grant.scopes))},
            }
        )

    def remove(self, tenant: str) -> bool:
        """End a grant; False when there was none.

        Raises:
            StoreUnavailable: it may still be there.
        """
        return self._items.delete(_pk(tenant))


def _pk(tenant: str) -> str:
    return f"drops#{tenant}"
