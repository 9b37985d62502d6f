"""The shape of a routing document as people write it: percents, and only what is theirs to say.

Canary, experiments and what was rolled back have owners of their own, and are not in the file.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from headrace.declaration.shape import GROUP_PATTERN, TENANT_PATTERN, VERSION_PATTERN, Declared, Name, Problem
from headrace.routing.checks import GROUPS_MAX, HEADERS_MAX, TENANTS_MAX, VERSIONS_MAX, percent, sum_mend
from headrace.routing.document import API, WEIGHT_SUM, Group, Routing, Shadow, Sticky

EXAMPLE = f"{{api: {API}, endpoint: detection, weights: {{v1: 90%, v2: 10%}}}}"
_PERCENT_CHARS_MAX = 16
HEADER_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"


def points(value: Any) -> int:
    """Basis points from `12.5%`, or from a whole number of basis points.

    Raises:
        ValueError: it is neither; the message says how to write it.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else ""
    number = text[:-1].strip()
    whole, _, part = number.partition(".")
    if (
        not text.endswith("%")
        or len(text) > _PERCENT_CHARS_MAX
        or not (whole + part).isdecimal()
        or not number.isascii()
    ):
        raise ValueError("write a percentage such as 12.5%, or basis points such as 1250")
    if not whole or len(part.rstrip("0")) > 2:  # noqa: PLR2004 - a basis point is a hundredth of a percent
        raise ValueError("write a percentage with at most two decimals, such as 12.25%")
    return int(whole) * 100 + int(part.ljust(2, "0")[:2] or "0")


Share = Annotated[int, BeforeValidator(points), Field(ge=0, le=WEIGHT_SUM)]
Version = Annotated[str, Field(pattern=VERSION_PATTERN)]
Weights = Annotated[dict[Version, Share], Field(min_length=1, max_length=VERSIONS_MAX)]
Tenant = Annotated[str, Field(pattern=TENANT_PATTERN)]
GroupName = Annotated[str, Field(pattern=GROUP_PATTERN)]
Header = Annotated[str, Field(pattern=HEADER_PATTERN)]


class StickyDeclaration(Declared):
    """What a caller's version sticks to: the first of the headers that is there, else the caller."""

    by: Literal["caller", "request"] = "caller"
    headers: Annotated[list[Header], Field(max_length=HEADERS_MAX)] = Field(default_factory=list)


class GroupDeclaration(Declared):
    """Callers with weights of their own: those of the tenants, and who sends the header where `by_header` allows it."""

    weights: Weights
    tenants: Annotated[list[Tenant], Field(max_length=TENANTS_MAX)] = Field(default_factory=list)
    by_header: bool = False


class ShadowDeclaration(Declared):
    """A version that gets copies of this share of the requests, and whose answers nobody sees."""

    version: Version
    share: Share


class RoutingDeclaration(Declared):
    """The whole file. Without `weights` they stay as they are; what else is missing is not there any more."""

    api: Literal["headrace/routing/v1"]
    endpoint: Name
    version: Annotated[int, Field(ge=0)] | None = None
    """Of the document that this file was made from; another one in force is a conflict."""
    weights: Weights | None = None
    sticky: StickyDeclaration = Field(default_factory=StickyDeclaration)
    groups: Annotated[dict[GroupName, GroupDeclaration], Field(max_length=GROUPS_MAX)] = Field(default_factory=dict)
    pins: Annotated[dict[Tenant, Version], Field(max_length=TENANTS_MAX)] = Field(default_factory=dict)
    shadow: ShadowDeclaration | None = None

    def problems(self) -> list[Problem]:
        """Sums that are not the whole, as (path, what to do)."""
        found: list[Problem] = []
        if self.weights is not None and (mend := sum_mend(self.weights)):
            found.append((("weights",), mend))
        for name, group in self.groups.items():
            if mend := sum_mend(group.weights):
                found.append((("groups", name, "weights"), mend))
        return found

    def compiled(self) -> dict[str, Any]:
        """What `headrace.routing.changes.replaced` takes, but for weights that are not said."""
        shadow = self.shadow
        return {
            **({} if self.weights is None else {"weights": self.weights}),
            "sticky": Sticky(self.sticky.by, tuple(self.sticky.headers)),
            "groups": tuple(
                Group(name, group.weights, tuple(group.tenants), group.by_header) for name, group in self.groups.items()
            ),
            "pins": self.pins,
            "shadow": None if shadow is None else Shadow(shadow.version, shadow.share),
        }


def written(routing: Routing) -> dict[str, Any]:
    """The document as such a file has it, ready for YAML or JSON."""
    file: dict[str, Any] = {
        "api": API,
        "endpoint": routing.endpoint,
        "version": routing.version,
        "weights": _percents(routing.weights),
    }
    if routing.sticky != Sticky():
        headers = list(routing.sticky.headers)
        file["sticky"] = {"by": routing.sticky.by, **({"headers": headers} if headers else {})}
    if routing.groups:
        file["groups"] = {group.name: _written_group(group) for group in routing.groups}
    if routing.pins:
        file["pins"] = dict(sorted(routing.pins.items()))
    if routing.shadow is not None:
        file["shadow"] = {"version": routing.shadow.version, "share": _percent(routing.shadow.share)}
    return file


def _written_group(group: Group) -> dict[str, Any]:
    return {
        "weights": _percents(group.weights),
        **({"tenants": list(group.tenants)} if group.tenants else {}),
        **({"by_header": True} if group.by_header else {}),
    }


def _percents(weights: Any) -> dict[str, str]:
    return {name: _percent(weight) for name, weight in sorted(weights.items())}


def _percent(share: int) -> str:
    return percent(share).replace(" ", "")
