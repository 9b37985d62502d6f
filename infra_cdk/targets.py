"""What serves declared versions, by ARN: functions may invoke or describe each by its name, and none by a pattern."""

from __future__ import annotations

from dataclasses import dataclass

from aws_cdk import Stack

from headrace.catalog import component_name
from headrace.declaration.schema import EndpointDeclaration


@dataclass(frozen=True, slots=True)
class Targets:
    """ARNs of all endpoints, and of those versions that are inference components on them."""

    endpoints: tuple[str, ...]
    components: tuple[str, ...]

    @property
    def invocable(self) -> list[str]:
        """What `sagemaker:InvokeEndpoint` names: a component's caller may have to be allowed both."""
        return [*self.endpoints, *self.components]


def targets_of(declarations: list[EndpointDeclaration], *, prefix: str, stack: Stack) -> Targets:
    """The targets of a stage, whose names begin with `prefix`."""

    def arn(resource: str, name: str) -> str:
        named: str = stack.format_arn(service="sagemaker", resource=resource, resource_name=name)
        return named

    return Targets(
        endpoints=tuple(arn("endpoint", f"{prefix}-{each.name}") for each in declarations),
        components=tuple(
            arn("inference-component", component_name(prefix, each.name, name))
            for each in declarations
            if each.components is not None
            for name, version in each.versions.items()
            if version.hosting == "endpoint"
        ),
    )
