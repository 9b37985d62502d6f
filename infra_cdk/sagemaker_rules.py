"""Our own rules for SageMaker hosting, which no published rule pack covers: findings from templates, then the plugin.

| rule | what it asks |
| --- | --- |
| HR-SM1 | endpoint volumes have a customer-managed key, unless the instance encrypts its local storage in hardware |
| HR-SM2 | models run in network isolation, and so do instances that components share |
| HR-SM3 | every endpoint and every component has alarms that roll a deployment back |
| HR-SM4 | `sagemaker:InvokeEndpoint`, in any of its forms, names its endpoints |
| HR-SM5 | captured data has a key |
| HR-SM6 | a deployment keeps the instance counts that scaling set |
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsii
from aws_cdk import (
    IPolicyValidationContext,
    IPolicyValidationPlugin,
    PolicyValidationPluginReport,
    PolicyViolatingResource,
    PolicyViolation,
)

from infra_cdk.capacity import has_local_storage

_ALARMS = "DeploymentConfig.AutoRollbackConfiguration alarms"


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule broken by one resource."""

    rule: str
    resource: str
    says: str


def findings(template: dict[str, Any]) -> list[Finding]:
    """Everything in one CloudFormation `template` that breaks a rule above."""
    found: list[Finding] = []
    for name, resource in template.get("Resources", {}).items():
        properties = resource.get("Properties", {})
        match resource["Type"]:
            case "AWS::SageMaker::Model":
                if properties.get("EnableNetworkIsolation") is not True:
                    found.append(Finding("HR-SM2", name, "set EnableNetworkIsolation: a model needs no network"))
            case "AWS::SageMaker::EndpointConfig":
                found += [Finding(rule, name, says) for rule, says in _config_problems(properties)]
            case "AWS::SageMaker::Endpoint":
                found += [Finding(rule, name, says) for rule, says in _endpoint_problems(properties)]
            case "AWS::SageMaker::InferenceComponent":
                if not _rolled_back(properties):
                    found.append(Finding("HR-SM3", name, f"give {_ALARMS}: without them nothing rolls back"))
            case "AWS::IAM::Policy" | "AWS::IAM::ManagedPolicy" | "AWS::IAM::Role":
                found += [
                    Finding("HR-SM4", name, "name the endpoints that may be invoked, not all of them")
                    for statement in _statements(properties)
                    if _invokes_any_endpoint(statement)
                ]
    return found


def _config_problems(properties: dict[str, Any]) -> Iterator[tuple[str, str]]:
    types = [
        kind
        for variant in properties.get("ProductionVariants", [])
        for kind in (variant.get("InstanceType"), *(pool["InstanceType"] for pool in variant.get("InstancePools", [])))
        if kind is not None
    ]
    if "KmsKeyId" not in properties and not any(has_local_storage(kind) for kind in types):
        yield "HR-SM1", "set KmsKeyId: these instances have network volumes"
    if properties.get("EnableNetworkIsolation") is not True and any(
        "ModelName" not in variant for variant in properties.get("ProductionVariants", [])
    ):
        yield "HR-SM2", "set EnableNetworkIsolation: these instances run components, which need no network"
    capture = properties.get("DataCaptureConfig", {})
    if capture.get("EnableCapture") and "KmsKeyId" not in capture:
        yield "HR-SM5", "set DataCaptureConfig.KmsKeyId: captured requests are callers' data"


def _endpoint_problems(properties: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if not _rolled_back(properties):
        yield "HR-SM3", f"give {_ALARMS}: without them nothing rolls back"
    if properties.get("RetainAllVariantProperties") is not True:
        yield "HR-SM6", "set RetainAllVariantProperties: a deployment would undo the scaling"


def _rolled_back(properties: dict[str, Any]) -> bool:
    return bool(properties.get("DeploymentConfig", {}).get("AutoRollbackConfiguration", {}).get("Alarms"))


def _statements(properties: dict[str, Any]) -> Iterator[dict[str, Any]]:
    documents = [properties.get("PolicyDocument", {})]
    documents += [policy.get("PolicyDocument", {}) for policy in properties.get("Policies", [])]
    for document in documents:
        yield from _listed(document.get("Statement"))


def _invokes_any_endpoint(statement: dict[str, Any]) -> bool:
    named = {f"sagemaker:InvokeEndpoint{form}" for form in ("", "Async", "WithResponseStream")}
    invoking = {*named, "sagemaker:InvokeEndpoint*", "sagemaker:Invoke*", "sagemaker:*", "*"}
    if statement.get("Effect") != "Allow" or not invoking & set(_listed(statement.get("Action"))):
        return False
    return any("*" in json.dumps(resource) for resource in _listed(statement.get("Resource")))


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


@jsii.implements(IPolicyValidationPlugin)
class SageMakerRules:
    """The rules as CDK asks for them: a finding stops the synth."""

    @property
    def name(self) -> str:
        """What reports call it."""
        return "headrace-sagemaker"

    @property
    def version(self) -> str:
        """Changes with the rules."""
        return "1"

    @property
    def rule_ids(self) -> list[str]:
        """All rules."""
        return [f"HR-SM{number}" for number in range(1, 7)]

    def validate(self, context: IPolicyValidationContext) -> PolicyValidationPluginReport:
        """Read every synthesised template and report what breaks a rule."""
        violations = [
            PolicyViolation(
                rule_name=finding.rule,
                description=finding.says,
                severity="error",
                violating_resources=[
                    PolicyViolatingResource(
                        resource_logical_id=finding.resource, template_path=path, locations=["Properties"]
                    )
                ],
            )
            for path in context.template_paths
            for finding in findings(json.loads(Path(path).read_text(encoding="utf-8")))
        ]
        return PolicyValidationPluginReport(success=not violations, violations=violations)
