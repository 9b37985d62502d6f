"""In-memory ports of authentication, which keep the same contracts as the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace.authentication.iam import IamGrant


@dataclass(slots=True)
class FakeRevocations:
    """Marks in a dict. See `headrace.authentication.revocation.RevocationStore`."""

    marks: dict[str, int] = field(default_factory=dict)

    def standing(self, marks: Sequence[str]) -> Mapping[str, int]:
        """Those that are set."""
        return {mark: self.marks[mark] for mark in marks if mark in self.marks}

    def revoke(self, mark: str, *, before: int, forget_at: int = 0) -> None:
        """Set a mark; one for a later time stays."""
        del forget_at
        self.marks[mark] = max(before, self.marks.get(mark, before))

    def lift(self, mark: str) -> bool:
        """Remove a mark."""
        return self.marks.pop(mark, None) is not None


@dataclass(slots=True)
class FakeGrants:
    """Grants in a dict. See `headrace.authentication.iam.GrantStore`."""

    grants: dict[str, IamGrant] = field(default_factory=dict)

    def get(self, arn: str) -> IamGrant | None:
        """The grant, or None."""
        return self.grants.get(arn)

    def put(self, grant: IamGrant) -> None:
        """Write a grant."""
        self.grants[grant.arn] = grant

    def remove(self, arn: str) -> bool:
        """End a grant."""
        return self.grants.pop(arn, None) is not None
