"""Grants of IAM roles and users in the keys table: one item each, `pk` = `iam#<arn>`."""

from __future__ import annotations

from headrace.authentication.iam import IamGrant
from headrace_aws.keys_items import KeysItems, key


class GrantsTable:
    """See `headrace.authentication.iam.GrantStore`."""

    def __init__(self, table: str) -> None:
        self._items = KeysItems(table)

    def get(self, arn: str) -> IamGrant | None:
        """The grant of a role or user, or None.

        Raises:
            StoreUnavailable: it cannot be told.
        """
        item = self._items.get(_pk(arn))
        if item is None:
            return None
        return IamGrant(arn, item["tenant"]["S"], item["plan"]["S"], frozenset(item["scopes"]["S"].split()))

    def put(self, grant: IamGrant) -> None:
        """Write a grant in place of any earlier one.

        Raises:
            StoreUnavailable: it may not have been written.
        """
        self._items.put(
            {
                **key(_pk(grant.arn)),
                "tenant": {"S": grant.tenant},
                "plan": {"S": grant.plan},
                "scopes": {"S": " ".join(sorted(grant.scopes))},
            }
        )

    def remove(self, arn: str) -> bool:
        """End a grant; False when there was none.

        Raises:
            StoreUnavailable: it may still be there.
        """
        return self._items.delete(_pk(arn))


def _pk(arn: str) -> str:
    return f"iam#{arn}"
