"""The security review at synth: clean as it stands, and able to find something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_s3 as s3

from infra_cdk.nag import review
from infra_cdk.sagemaker_rules import findings
from tests.infrastructure.conftest import Synthesised, synthesise


def test_every_stage_is_clean(stages: dict[str, Synthesised]) -> None:
    """Both stages were synthesised with the review on, and a finding would have raised."""
    assert set(stages) == {"dev", "prod"}


def test_a_stage_with_account_region_and_image_is_clean_too(declared: Path, tmp_path: Path) -> None:
    """Findings are named differently once account and region are known; the answers hold all the same."""
    image = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/serving:1"
    fixed = synthesise(
        "prod",
        endpoints=declared,
        folder=tmp_path,
        account="123456789012",
        region="eu-west-1",
        serving_image_uri=image,
    )
    models = fixed.properties("AWS::SageMaker::Model")
    assert {model["PrimaryContainer"]["Image"] for model in models} == {image}


def test_our_own_rules_find_nothing_in_any_template(synthesised: Synthesised) -> None:
    """The SageMaker rules are also met when asked directly, and there are endpoints to ask about."""
    assert synthesised.of_type("AWS::SageMaker::Endpoint")
    assert findings(synthesised.platform) == []
    assert findings(synthesised.endpoints) == []


def test_a_finding_stops_the_synth(tmp_path: Path) -> None:
    """A bucket that takes plain HTTP cannot be synthesised."""
    app = App(outdir=str(tmp_path))
    s3.Bucket(Stack(app, "careless"), "Open")
    review(app)
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    report = json.loads((tmp_path / "validation-report.json").read_text(encoding="utf-8"))
    assert "AwsSolutions-S10" in json.dumps(report)


def test_our_own_finding_stops_the_synth_too(tmp_path: Path) -> None:
    """The plugin is really asked: a model with network access is refused by name."""
    from aws_cdk import aws_sagemaker as sagemaker  # noqa: PLC0415 - only this test needs the slow module

    app = App(outdir=str(tmp_path))
    sagemaker.CfnModel(Stack(app, "careless"), "Open", execution_role_arn="arn:aws:iam::123456789012:role/r")
    review(app)
    with pytest.raises(RuntimeError, match="ValidationFailed"):
        app.synth()
    assert "HR-SM2" in (tmp_path / "validation-report.json").read_text(encoding="utf-8")


def _config(**properties: Any) -> dict[str, Any]:
    return {"Type": "AWS::SageMaker::EndpointConfig", "Properties": properties}


def _variant(kind: str) -> dict[str, Any]:
    return {"ModelName": "m", "InstanceType": kind}


def _policy(action: str, resource: Any) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {"Type": "AWS::IAM::Policy", "Properties": {"PolicyDocument": {"Statement": [statement]}}}


@pytest.mark.parametrize(
    ("rule", "resource"),
    [
        ("HR-SM1", _config(ProductionVariants=[_variant("ml.m5.xlarge")])),
        (
            "HR-SM5",
            _config(
                KmsKeyId="k",
                ProductionVariants=[_variant("ml.m5.xlarge")],
                DataCaptureConfig={"EnableCapture": True},
            ),
        ),
        ("HR-SM2", {"Type": "AWS::SageMaker::Model", "Properties": {}}),
        ("HR-SM2", _config(KmsKeyId="k", ProductionVariants=[{"InstanceType": "ml.m5.xlarge"}])),
        ("HR-SM3", {"Type": "AWS::SageMaker::InferenceComponent", "Properties": {}}),
        ("HR-SM3", {"Type": "AWS::SageMaker::Endpoint", "Properties": {"RetainAllVariantProperties": True}}),
        (
            "HR-SM6",
            {
                "Type": "AWS::SageMaker::Endpoint",
                "Properties": {"DeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}},
            },
        ),
        ("HR-SM4", _policy("sagemaker:InvokeEndpoint", "*")),
        ("HR-SM4", _policy("sagemaker:InvokeEndpointAsync", "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/*")),
        ("HR-SM4", _policy("sagemaker:*", ["arn:aws:sagemaker:eu-west-1:123456789012:endpoint/*"])),
    ],
)
def test_each_rule_finds_what_it_is_for(rule: str, resource: dict[str, Any]) -> None:
    """A template with one fault has exactly that finding."""
    assert [finding.rule for finding in findings({"Resources": {"Faulty": resource}})] == [rule]


def test_local_storage_needs_no_key() -> None:
    """An instance that encrypts its disks in hardware is not asked for a key that SageMaker would refuse."""
    template = {"Resources": {"Config": _config(ProductionVariants=[_variant("ml.g5.xlarge")])}}
    assert findings(template) == []
