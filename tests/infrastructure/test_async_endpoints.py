"""Asynchronous endpoints as deployed: what they serve jobs with, how they come from nothing, and what is watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.jobs.asynchronous import FAILED_PREFIX, INPUT_PREFIX, OUTPUT_PREFIX, SENT_PREFIX
from tests.infrastructure.conftest import SENTIMENT, Synthesised, synthesise, write_declarations

DECLARED = """\
async_inference:
  {max_instances: 3, concurrent_requests_per_instance: 4, queue_s: 7200, instance_types: [ml.m5.xlarge]}
"""
NAME = "headrace-prod-sentiment-async"


@pytest.fixture(scope="module")
def with_jobs(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """Production with an asynchronous endpoint beside the sentiment endpoint, reviewed."""
    folder = tmp_path_factory.mktemp("asynchronous")
    endpoints = write_declarations(folder / "endpoints")
    (endpoints / "sentiment" / "endpoint.yaml").write_text(SENTIMENT + DECLARED, encoding="utf-8")
    return synthesise("prod", endpoints=endpoints, folder=folder)


def _one(synthesised: Synthesised, kind: str, **member: Any) -> dict[str, Any]:
    (found,) = [
        each for each in synthesised.properties(kind) if all(each.get(name) == value for name, value in member.items())
    ]
    return found


def _statements(synthesised: Synthesised, role: str, part: str) -> list[tuple[list[str], str]]:
    """Actions and resources of a role's statements that mention `part`."""
    return [
        (actions if isinstance(actions, list) else [actions], json.dumps(statement["Resource"]))
        for policy in synthesised.properties("AWS::IAM::Policy")
        if any(role in each["Ref"] for each in policy["Roles"])
        for statement in policy["PolicyDocument"]["Statement"]
        if part in json.dumps(statement)
        for actions in [statement["Action"]]
    ]


def test_without_a_declaration_there_is_none(synthesised: Synthesised) -> None:
    """No endpoint, no rule and no right is made for what nobody has declared."""
    text = json.dumps([synthesised.platform, synthesised.endpoints])
    assert "AsyncInferenceConfig" not in text
    assert "InvokeEndpointAsync" not in text
    assert not [each for each in synthesised.of_type("AWS::Events::Rule") if each.startswith("JobsAnswered")]


def test_it_serves_the_heaviest_version_and_writes_to_the_bucket_of_jobs(with_jobs: Synthesised) -> None:
    """One variant with the model of the real-time endpoint; answers and failures under the stage's key."""
    (config,) = [
        each for each in with_jobs.properties("AWS::SageMaker::EndpointConfig") if "AsyncInferenceConfig" in each
    ]
    (variant,) = config["ProductionVariants"]
    assert (variant["VariantName"], variant["InstanceType"], variant["InitialInstanceCount"]) == (
        "v1",
        "ml.m5.xlarge",
        1,
    )
    (real,) = [
        each
        for each in with_jobs.properties("AWS::SageMaker::EndpointConfig")
        if each["ProductionVariants"][0].get("InstanceType") == "ml.g5.xlarge"
    ]
    assert variant["ModelName"] == real["ProductionVariants"][0]["ModelName"]
    settings = config["AsyncInferenceConfig"]
    assert settings["ClientConfig"] == {"MaxConcurrentInvocationsPerInstance": 4}
    output = settings["OutputConfig"]
    assert json.dumps(output["S3OutputPath"]).endswith(f'/{OUTPUT_PREFIX.rstrip("/")}"]]}}')
    assert json.dumps(output["S3FailurePath"]).endswith(f'/{FAILED_PREFIX.rstrip("/")}"]]}}')
    assert "jobs-name" in json.dumps(output["S3OutputPath"])
    assert "key-arn" in json.dumps(output["KmsKeyId"])
    assert "NotificationConfig" not in output
    assert "KmsKeyId" in config


def test_it_rests_at_nothing_and_comes_back(with_jobs: Synthesised) -> None:
    """Backlog per instance grows and shrinks it; the first instance comes of the alarm that there is none."""
    target = _one(with_jobs, "AWS::ApplicationAutoScaling::ScalableTarget", ResourceId=f"endpoint/{NAME}/variant/v1")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 3)
    tracking = _one(with_jobs, "AWS::ApplicationAutoScaling::ScalingPolicy", PolicyName=f"{NAME}-backlog")
    followed = tracking["TargetTrackingScalingPolicyConfiguration"]
    assert followed["TargetValue"] == 8
    assert followed["CustomizedMetricSpecification"]["MetricName"] == "ApproximateBacklogSizePerInstance"
    first = _one(with_jobs, "AWS::ApplicationAutoScaling::ScalingPolicy", PolicyName=f"{NAME}-first")
    assert first["PolicyType"] == "StepScaling"
    assert first["StepScalingPolicyConfiguration"]["StepAdjustments"] == [
        {"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}
    ]
    waiting = _one(with_jobs, "AWS::CloudWatch::Alarm", AlarmName=f"{NAME}-waiting")
    assert waiting["MetricName"] == "HasBacklogWithoutCapacity"
    assert (waiting["ComparisonOperator"], waiting["Threshold"]) == ("GreaterThanOrEqualToThreshold", 1)
    assert waiting["TreatMissingData"] == "missing"
    (action,) = waiting["AlarmActions"]
    assert "FirstInstance" in action["Ref"]


def test_its_deployments_roll_back_and_keep_the_scaling(with_jobs: Synthesised) -> None:
    """Guarded like the others, by the one measure of failure that SageMaker publishes for it."""
    endpoint = _one(with_jobs, "AWS::SageMaker::Endpoint", EndpointName=NAME)
    assert endpoint["RetainAllVariantProperties"] is True
    (guard,) = endpoint["DeploymentConfig"]["AutoRollbackConfiguration"]["Alarms"]
    assert "Failures" in guard["AlarmName"]["Ref"]
    failures = _one(with_jobs, "AWS::CloudWatch::Alarm", AlarmName=f"{NAME}-failures")
    counted = {part["MetricStat"]["Metric"]["MetricName"] for part in failures["Metrics"] if "MetricStat" in part}
    assert counted == {"InvocationFailures", "InvocationsProcessed"}


def test_work_that_is_not_taken_raises_alarms(with_jobs: Synthesised) -> None:
    """A backlog that grows, requests that expire, no instance to be had, and half of the time gone."""
    watched = {
        each["MetricName"]: each["Threshold"]
        for each in with_jobs.properties("AWS::CloudWatch::Alarm")
        if each.get("Dimensions") == [{"Name": "EndpointName", "Value": NAME}] and "AlarmName" not in each
    }
    assert watched == {
        "ApproximateBacklogSize": 10 * 3 * 4,
        "ExpiredRequests": 0,
        "HasBacklogWithoutCapacity": 0.5,
        "TimeInBacklog": 7200 * 1000 / 2,
    }


def test_predict_sends_there_and_reads_what_comes_back(with_jobs: Synthesised) -> None:
    """It may invoke that one endpoint, write inputs and what it sent, and read answers: nothing else changes."""
    ((actions, resource),) = _statements(with_jobs, "Predict", "InvokeEndpointAsync")
    assert actions == ["sagemaker:InvokeEndpointAsync"]
    assert resource.endswith(f':endpoint/{NAME}"]]}}')
    rights = {
        (pattern, action)
        for actions, resource in _statements(with_jobs, "Predict", "async/")
        for action in actions
        for pattern in (INPUT_PREFIX, SENT_PREFIX, OUTPUT_PREFIX, FAILED_PREFIX)
        if f"/{pattern}*" in resource
    }
    assert rights == {
        *((INPUT_PREFIX, "s3:PutObject"), (SENT_PREFIX, "s3:PutObject"), (SENT_PREFIX, "s3:GetObject")),
        *((OUTPUT_PREFIX, "s3:GetObject"), (FAILED_PREFIX, "s3:GetObject")),
    }


def test_models_see_inputs_and_answers_and_no_job(with_jobs: Synthesised) -> None:
    """SageMaker reads inputs and writes answers and failures; requests below `tenants/` stay out of its reach."""
    found = [
        (sorted(actions), resource.rpartition("/async/")[2].strip('"]}'))
        for actions, resource in _statements(with_jobs, "ModelRole", "jobs-arn")
    ]
    written = {resource for actions, resource in found if "s3:PutObject" in actions}
    assert all("s3:GetObject" not in actions for actions, _ in found if "s3:PutObject" in actions)
    assert [resource for actions, resource in found if actions == ["s3:GetObject"]] == ["input/*"]
    assert written
    assert "tenants" not in json.dumps(found)


def test_answers_go_to_the_queue_of_jobs(with_jobs: Synthesised) -> None:
    """S3's events of the two prefixes, as they are; the queue takes them from that rule alone."""
    (rule,) = [
        each["Properties"]
        for name, each in with_jobs.of_type("AWS::Events::Rule").items()
        if name.startswith("JobsAnswered")
    ]
    assert rule["EventPattern"]["detail"]["object"]["key"] == [{"prefix": OUTPUT_PREFIX}, {"prefix": FAILED_PREFIX}]
    (target,) = rule["Targets"]
    assert target["Arn"]["Fn::GetAtt"][0].startswith("JobsQueue")
    assert "InputTransformer" not in target
    assert target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0].startswith("JobsDeadLetters")


def test_it_costs_nothing_while_nobody_asks(with_jobs: Synthesised) -> None:
    """The stated costs say so, and how far it may grow."""
    assert "sentiment-async: none always on; at most 3 x ml.m5.xlarge while jobs wait" in with_jobs.costs


def test_a_stage_caps_it_too(tmp_path: Path) -> None:
    """Development takes one instance per variant there as well."""
    endpoints = write_declarations(tmp_path / "endpoints")
    (endpoints / "sentiment" / "endpoint.yaml").write_text(SENTIMENT + DECLARED, encoding="utf-8")
    small = synthesise("dev", endpoints=endpoints, folder=tmp_path, checked=False)
    assert {each["MaxCapacity"] for each in small.properties("AWS::ApplicationAutoScaling::ScalableTarget")} == {1}


def test_it_shares_the_endpoints_image(tmp_path: Path) -> None:
    """Instances of another processor than the endpoint's own could not run its model, and are refused."""
    endpoints = write_declarations(tmp_path / "endpoints")
    text = SENTIMENT + DECLARED.replace("ml.m5.xlarge", "ml.m7g.xlarge")
    (endpoints / "sentiment" / "endpoint.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="async_inference"):
        synthesise("dev", endpoints=endpoints, folder=tmp_path, checked=False)
