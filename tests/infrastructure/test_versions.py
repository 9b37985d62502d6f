"""A new version on an endpoint of variants: instances before traffic, and an update that SageMaker takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra_cdk.sagemaker_rules import findings
from tests.infrastructure.conftest import DETECTION, Synthesised, synthesise, write_declarations

V3 = f'  v3: {{artifact: "sha256:{"e" * 64}", weight: 0}}\n'


@pytest.fixture(scope="module")
def added(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Production with a third detector of weight 0, deployed as a change of variants; reviewed like every stage."""
    folder = tmp_path_factory.mktemp("added")
    endpoints = write_declarations(folder / "endpoints")
    text = DETECTION.replace("hardware:", f"{V3}hardware:")
    (endpoints / "detection" / "endpoint.yaml").write_text(text, encoding="utf-8")
    return synthesise("prod", endpoints=endpoints, folder=folder, variants_change="detection")


def _named(synthesised: Synthesised, kind: str, name: str) -> dict[str, Any]:
    return {each[name]: each for each in synthesised.properties(kind)}


def _variants(synthesised: Synthesised) -> dict[str, dict[str, Any]]:
    """The detector's variants: the only ones on a pool of types."""
    (config,) = [
        each
        for each in synthesised.properties("AWS::SageMaker::EndpointConfig")
        if "InstancePools" in each["ProductionVariants"][0]
    ]
    return {each["VariantName"]: each for each in config["ProductionVariants"]}


def test_a_version_without_traffic_has_the_capacity_of_any_other(added: Synthesised) -> None:
    """Weight 0, and the declared instances all the same: whoever is drawn to it is answered at once."""
    variants = _variants(added)
    assert {name: each["InitialVariantWeight"] for name, each in variants.items()} == {"v1": 90, "v2": 10, "v3": 0}
    assert {each["InitialInstanceCount"] for each in variants.values()} == {2}
    targets = _named(added, "AWS::ApplicationAutoScaling::ScalableTarget", "ResourceId")
    target = targets["endpoint/headrace-prod-detection/variant/v3"]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 4)


def test_it_falls_back_to_other_instances_as_the_others_do(added: Synthesised) -> None:
    """Where the preferred type cannot be had, the next is taken."""
    pools = [{"InstanceType": "ml.m5.xlarge", "Priority": 1}, {"InstanceType": "ml.c5.xlarge", "Priority": 2}]
    assert all(each["InstancePools"] == pools for each in _variants(added).values())


def test_it_is_watched_by_the_same_alarms(added: Synthesised) -> None:
    """Errors and latency at the same thresholds as those of the versions before."""
    alarms = {each.get("AlarmName"): each for each in added.properties("AWS::CloudWatch::Alarm")}
    for kind in ("errors", "latency"):
        old, new = (alarms[f"headrace-prod-detection/{version}/{kind}"] for version in ("v1", "v3"))
        assert old["Threshold"] == new["Threshold"]


def test_a_change_of_variants_is_not_guarded_and_keeps_capacity(added: Synthesised) -> None:
    """Guardrails take only the variants that run: this update goes without, keeps counts, and no other endpoint's does.

    The review, which asks for alarms, has the reason; asked without it, it finds this endpoint and nothing else.
    """
    endpoints = _named(added, "AWS::SageMaker::Endpoint", "EndpointName")
    changed, other = endpoints["headrace-prod-detection"], endpoints["headrace-prod-sentiment"]
    assert "DeploymentConfig" not in changed
    assert changed["RetainAllVariantProperties"] is True
    assert changed["RetainDeploymentConfig"] is False
    assert other["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    assert [(each.rule, each.resource.startswith("detection")) for each in findings(added.endpoints)] == [
        ("HR-SM3", True)
    ]


def test_predict_needs_no_new_right_for_it(added: Synthesised, stages: dict[str, Synthesised]) -> None:
    """A version is not a resource of its own: the endpoint's name is what is allowed."""
    for one in (added, stages["prod"]):
        assert "detection/v3" not in str(one.properties("AWS::IAM::Policy"))


def test_a_change_of_what_is_not_declared_is_refused(declared: Path, tmp_path: Path) -> None:
    """A typing mistake must not leave the endpoint that was meant guarded, and its update refused."""
    with pytest.raises(ValueError, match="names detektion, which is not declared"):
        synthesise("dev", endpoints=declared, folder=tmp_path, checked=False, variants_change="detektion")
