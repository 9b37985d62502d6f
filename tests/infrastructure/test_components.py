"""Versions that share instances: one variant for good, a component each, and the same guard as variants have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.declaration.compile import compile_catalog
from headrace.declaration.files import read_declarations
from headrace.declaration.schema import EndpointDeclaration
from headrace_aws.rollout_events import alarmed
from infra_cdk.capacity import plan_shared
from infra_cdk.sagemaker_rules import findings
from tests.infrastructure.alarms import state_change
from tests.infrastructure.conftest import DETECTION, Synthesised, synthesise, write_declarations

SHARED = "components: {copies_per_instance: 2, memory_mb: 2048, cpus: 1.5, max_copies: 3}\n"
NAMES = ("headrace-prod-detection-v1", "headrace-prod-detection-v2")


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The usual declarations, the detector's versions sharing instances."""
    folder = write_declarations(tmp_path_factory.mktemp("shared") / "endpoints")
    (folder / "detection" / "endpoint.yaml").write_text(DETECTION + SHARED, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shared(endpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Production, reviewed."""
    return synthesise("prod", endpoints=endpoints, folder=tmp_path_factory.mktemp("assembly"))


@pytest.fixture(scope="module")
def detection(endpoints: Path) -> EndpointDeclaration:
    """The declaration."""
    (found,) = [each for each in read_declarations(endpoints) if each.name == "detection"]
    return found


def _components(synthesised: Synthesised) -> dict[str, dict[str, Any]]:
    return {
        each["InferenceComponentName"]: each for each in synthesised.properties("AWS::SageMaker::InferenceComponent")
    }


def _config(synthesised: Synthesised) -> dict[str, Any]:
    (config,) = [
        each
        for each in synthesised.properties("AWS::SageMaker::EndpointConfig")
        if each["ProductionVariants"][0]["VariantName"] == "AllTraffic"
    ]
    return config


def test_every_version_is_a_component_on_the_one_variant(shared: Synthesised) -> None:
    """Each has its own model, its share of an instance, and a copy though it may have no traffic."""
    found = _components(shared)
    assert set(found) == set(NAMES)
    for each in found.values():
        assert (each["EndpointName"], each["VariantName"]) == ("headrace-prod-detection", "AllTraffic")
        assert each["RuntimeConfig"] == {"CopyCount": 1}
        assert each["Specification"]["ComputeResourceRequirements"] == {
            "MinMemoryRequiredInMb": 2048,
            "NumberOfCpuCoresRequired": 1.5,
        }
    models = {json.dumps(each["Specification"]["ModelName"]) for each in found.values()}
    assert len(models) == 2


def test_instances_follow_the_copies_and_reach_nothing(shared: Synthesised) -> None:
    """SageMaker scales them within the declared bounds; with a role, a key, no network, and types in order."""
    config = _config(shared)
    (variant,) = config["ProductionVariants"]
    assert "ModelName" not in variant
    assert variant["ManagedInstanceScaling"] == {"Status": "ENABLED", "MinInstanceCount": 2, "MaxInstanceCount": 4}
    assert variant["InitialInstanceCount"] == 2
    assert [each["InstanceType"] for each in variant["InstancePools"]] == ["ml.m5.xlarge", "ml.c5.xlarge"]
    assert config["EnableNetworkIsolation"] is True
    assert "ModelRole" in json.dumps(config["ExecutionRoleArn"])
    assert config["KmsKeyId"]


def test_copies_are_scaled_by_the_requests_that_each_works_at(shared: Synthesised) -> None:
    """The instance's declared concurrency is shared by the copies on it; no two scalers set one number."""
    targets = {each["ResourceId"]: each for each in shared.properties("AWS::ApplicationAutoScaling::ScalableTarget")}
    for name in NAMES:
        target = targets[f"inference-component/{name}"]
        assert target["ScalableDimension"] == "sagemaker:inference-component:DesiredCopyCount"
        assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 3)
    assert not [each for each in targets if each.startswith("endpoint/headrace-prod-detection/")]
    tracked = [
        each["TargetTrackingScalingPolicyConfiguration"]
        for each in shared.properties("AWS::ApplicationAutoScaling::ScalingPolicy")
        if each["PolicyName"].startswith("headrace-prod-detection")
    ]
    assert {each["TargetValue"] for each in tracked} == {2}
    assert {each["PredefinedMetricSpecification"]["PredefinedMetricType"] for each in tracked} == {
        "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"
    }


def test_an_update_of_a_component_is_rolled_back_by_its_own_alarms(shared: Synthesised) -> None:
    """Half of its copies at a time, watched; the endpoint's own updates are guarded as ever."""
    for name, each in _components(shared).items():
        guard, version = each["DeploymentConfig"], name.rpartition("-")[2]
        assert guard["RollingUpdatePolicy"]["MaximumBatchSize"] == {"Type": "CAPACITY_PERCENT", "Value": 50}
        assert guard["AutoRollbackConfiguration"]["Alarms"]
        alarms = [
            shared.endpoints["Resources"][alarm["AlarmName"]["Ref"]]["Properties"]["AlarmName"]
            if isinstance(alarm["AlarmName"], dict)
            else alarm["AlarmName"]
            for alarm in guard["AutoRollbackConfiguration"]["Alarms"]
        ]
        assert alarms == [f"headrace-prod-detection/{version}/{kind}" for kind in ("errors", "latency")]
    assert findings(shared.endpoints) == []


def test_alarms_watch_the_component_and_reach_the_controller(shared: Synthesised, endpoints: Path) -> None:
    """Their dimension is the component's name, by which the function knows whose they are."""
    catalog = compile_catalog(read_declarations(endpoints), {})
    alarms = [
        each
        for each in shared.properties("AWS::CloudWatch::Alarm")
        if str(each.get("AlarmName", "")).startswith("headrace-prod-detection/")
    ]
    assert len(alarms) == 4
    for each in alarms:
        found = alarmed(state_change(each), catalog, prefix="headrace-prod")
        assert found is not None
        assert (found.endpoint, found.version) == ("detection", each["AlarmName"].split("/")[1])


def test_components_are_placed_after_their_endpoint_and_scaled_after_both(shared: Synthesised) -> None:
    """What is named and not referred to must be there first."""
    for resource in shared.of_type("AWS::SageMaker::InferenceComponent").values():
        assert any(
            shared.endpoints["Resources"][each]["Type"] == "AWS::SageMaker::Endpoint" for each in resource["DependsOn"]
        )
    for resource in shared.of_type("AWS::ApplicationAutoScaling::ScalableTarget").values():
        if resource["Properties"]["ResourceId"].startswith("inference-component/"):
            assert [shared.endpoints["Resources"][each]["Type"] for each in resource["DependsOn"]] == [
                "AWS::SageMaker::InferenceComponent"
            ]


def test_functions_may_invoke_and_describe_components_by_name(shared: Synthesised) -> None:
    """Predict, the shadow and the scorer invoke them; the plan looks up what they run; none by a pattern."""
    for role, action in (
        ("FunctionsPredict", "sagemaker:InvokeEndpoint"),
        ("ShadowsShadow", "sagemaker:InvokeEndpoint"),
        ("BatchFunctionsBatchScore", "sagemaker:InvokeEndpoint"),
        ("BatchFunctionsBatchPlan", "sagemaker:DescribeInferenceComponent"),
    ):
        (resources,) = [
            json.dumps(statement["Resource"])
            for policy in shared.properties("AWS::IAM::Policy")
            if any(each["Ref"].startswith(role) for each in policy["Roles"])
            for statement in policy["PolicyDocument"]["Statement"]
            if statement["Action"] == action
        ]
        assert all(f":inference-component/{name}" in resources for name in NAMES)
        assert "*" not in resources


def test_what_is_shared_is_paid_once(shared: Synthesised) -> None:
    """The line counts instances, not versions, and says who shares them."""
    assert shared.costs[0] == (
        "detection: 2 x ml.m5.xlarge (or ml.c5.xlarge) always on = 1460 instance-hours a month; at most 4 under load;"
        " 2 versions share them, 1 to 3 copies each"
    )


def test_a_stages_cap_leaves_room_for_every_version(detection: EndpointDeclaration) -> None:
    """Two versions fit on development's one instance; where they do not, there are as many as they take."""
    fitting = plan_shared(detection, prefix="headrace-dev", max_instances=1)
    assert fitting is not None
    assert (fitting.min_instances, fitting.max_instances, fitting.max_copies) == (1, 1, 2)
    assert detection.components is not None
    alone = detection.components.model_copy(update={"copies_per_instance": 1})
    wider = plan_shared(detection.model_copy(update={"components": alone}), prefix="headrace-dev", max_instances=1)
    assert wider is not None
    assert (wider.min_instances, wider.max_instances) == (2, 2)


def test_a_name_that_sagemaker_does_not_take_is_refused(detection: EndpointDeclaration) -> None:
    """A component's name holds the stage, the endpoint and the version: together they may be too long."""
    with pytest.raises(ValueError, match="at most 63 characters"):
        plan_shared(detection.model_copy(update={"name": "d" * 32}), prefix="p" * 30, max_instances=None)


def test_two_versions_cannot_be_one_component(endpoints: Path, tmp_path: Path) -> None:
    """`a` with `b-c` and `a-b` with `c` would have one name in the account: refused before anything is deployed."""
    folder = tmp_path / "endpoints"
    for name, version in (("toy", "big-v1"), ("toy-big", "v1")):
        (folder / name).mkdir(parents=True)
        text = (endpoints / "detection" / "endpoint.yaml").read_text(encoding="utf-8")
        text = text.replace("name: detection", f"name: {name}").replace("  v1:", f"  {version}:")
        (folder / name / "endpoint.yaml").write_text(text, encoding="utf-8")
    (folder / "plans.yaml").write_bytes((endpoints / "plans.yaml").read_bytes())
    with pytest.raises(ValueError, match="inference component headrace-dev-toy-big-v1"):
        synthesise("dev", endpoints=folder, folder=tmp_path, checked=False)
