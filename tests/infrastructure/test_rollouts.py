"""Progressive delivery as deployed: what calls the controller, who may do what, and what a shadow may cost."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from headrace.catalog import Catalog
from headrace.declaration.compile import compile_catalog
from headrace.declaration.files import read_declarations
from headrace.rollouts.controller import SWEEP_AFTER_S
from headrace.rollouts.copies import key_of
from headrace.rollouts.shadowing import BATCH_MAX, KEPT_S, VISIBILITY_S
from headrace.rollouts.states import TURN_TIMEOUT_S
from headrace_aws.rollout_events import alarmed
from infra_cdk.rollouts import DEFINITION
from infra_cdk.stages import STAGES
from tests.infrastructure.alarms import state_change
from tests.infrastructure.conftest import Synthesised

EVERYWHERE = {
    *("logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTraceSegments", "xray:PutTelemetryRecords"),
}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _statements(synthesised: Synthesised, role: str) -> list[dict[str, Any]]:
    return [
        statement
        for policy in synthesised.properties("AWS::IAM::Policy")
        if any(each["Ref"].startswith(role) for each in policy["Roles"])
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def _may(synthesised: Synthesised, role: str) -> set[str]:
    """What a role may do, beside what every function may."""
    actions = {action for each in _statements(synthesised, role) for action in _listed(each["Action"])}
    return actions - EVERYWHERE


def _rule(synthesised: Synthesised, name: str) -> dict[str, Any]:
    rules = synthesised.properties("AWS::Events::Rule")
    (rule,) = [each for each in rules if str(each.get("Name", "")).endswith(f"-rollout-{name}")]
    return rule


def _machine(synthesised: Synthesised) -> dict[str, Any]:
    machines = synthesised.properties("AWS::StepFunctions::StateMachine")
    (machine,) = [each for each in machines if each["StateMachineName"].endswith("-rollout")]
    return machine


@pytest.fixture(scope="module")
def catalog(declared: Path) -> Catalog:
    """The declarations that were synthesised, as the function knows them."""
    return compile_catalog(read_declarations(declared), {})


def test_the_controller_keeps_records_and_starts_its_own_machine(synthesised: Synthesised) -> None:
    """It reads and writes items of one table and deletes none, and starts executions of one machine; nothing else."""
    assert _may(synthesised, "RolloutsRolloutStep") == {
        *("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "kms:Decrypt", "kms:GenerateDataKey"),
        "states:StartExecution",
    }
    (start,) = [
        each for each in _statements(synthesised, "RolloutsRolloutStep") if each["Action"] == "states:StartExecution"
    ]
    assert json.dumps(start["Resource"]).endswith(f':stateMachine:{_machine(synthesised)["StateMachineName"]}"]]}}')


def test_every_name_in_the_definition_is_bound(synthesised: Synthesised) -> None:
    """The file asks for exactly the names that the deployment puts in; the function is a published version."""
    given = _machine(synthesised)["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)\}", DEFINITION.read_text(encoding="utf-8"))) == set(given)
    assert "RolloutsRolloutStepLive" in given["RolloutStepFunction"]["Ref"]


def test_the_machine_takes_turns_and_tells_of_ends(synthesised: Synthesised) -> None:
    """One alias and one kind of event; it is logged without data and traced, and runs for longer than a day."""
    actions = {action for action in _may(synthesised, "RolloutsRole") if not action.startswith(("logs:", "xray:"))}
    assert actions == {"lambda:InvokeFunction", "events:PutEvents"}
    (tell,) = [each for each in _statements(synthesised, "RolloutsRole") if each["Action"] == "events:PutEvents"]
    assert tell["Condition"] == {"StringEquals": {"events:source": "headrace"}}
    machine = _machine(synthesised)
    assert machine["StateMachineType"] == "STANDARD"
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False
    assert machine["TracingConfiguration"] == {"Enabled": True}


def test_a_turn_has_less_time_than_its_state() -> None:
    """The function ends before the state machine gives it up, in every stage."""
    definition = json.loads(DEFINITION.read_text(encoding="utf-8"))
    for stage in STAGES.values():
        assert (
            stage.functions["rollout_step"].timeout_s == TURN_TIMEOUT_S < definition["States"]["Step"]["TimeoutSeconds"]
        )


def test_rollouts_that_nobody_looks_after_are_swept_up(synthesised: Synthesised) -> None:
    """As often as one may go without being looked at, by the same alias."""
    rule = _rule(synthesised, "sweep")
    (target,) = rule["Targets"]
    assert rule["ScheduleExpression"] == f"rate({round(SWEEP_AFTER_S / 60)} minutes)"
    assert json.loads(target["Input"]) == {"sweep": True}
    assert "RolloutsRolloutStepLive" in target["Arn"]["Ref"]


def test_every_alarm_on_a_version_reaches_the_controller_and_says_whose_it_is(
    synthesised: Synthesised, catalog: Catalog
) -> None:
    """The rule takes those alarms by name and no others; the function finds endpoint and version in their metrics."""
    rule = _rule(synthesised, "alarmed")
    detail = rule["EventPattern"]["detail"]
    assert rule["EventPattern"]["detail-type"] == ["CloudWatch Alarm State Change"]
    assert detail["state"] == {"value": ["ALARM"]}
    patterns = [each["wildcard"] for each in detail["alarmName"]]
    alarms = [each for each in synthesised.properties("AWS::CloudWatch::Alarm") if "AlarmName" in each]
    taken = [each for each in alarms if any(fnmatchcase(each["AlarmName"], pattern) for pattern in patterns)]
    prefix = patterns[0].partition("-*")[0]
    found = {each["AlarmName"]: alarmed(state_change(each), catalog, prefix=prefix) for each in taken}
    named = {name: (each.endpoint, each.version) for name, each in found.items() if each is not None}
    assert named == {
        f"{prefix}-{endpoint}/{version}/{kind}": (endpoint, version)
        for endpoint, version in (("detection", "v1"), ("detection", "v2"), ("sentiment", "v1"))
        for kind in ("errors", "latency")
    }
    assert set(named) == {each["AlarmName"] for each in taken}


def test_an_old_alarm_meets_no_later_rollout(synthesised: Synthesised) -> None:
    """It is dropped after a quarter of an hour, wherever it has waited."""
    (target,) = _rule(synthesised, "alarmed")["Targets"]
    (invoke,) = [
        each
        for each in synthesised.properties("AWS::Lambda::EventInvokeConfig")
        if "RolloutsRolloutStep" in json.dumps(each["FunctionName"])
    ]
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == invoke["MaximumEventAgeInSeconds"] == 900
    assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0


def test_names_of_alarms_cannot_meet() -> None:
    """Hyphens are in both parts of a name, so that something else stands between them."""
    from infra_cdk.observability import Place  # noqa: PLC0415 - importing it starts Node

    assert Place("p-a", "b-c").name != Place("p-a-b", "c").name


def test_an_alarm_that_is_over_rolls_nothing_back(stages: dict[str, Synthesised], catalog: Catalog) -> None:
    """Only the change into alarm counts, for the rule and for the function."""
    (alarm,) = [
        each
        for each in stages["prod"].properties("AWS::CloudWatch::Alarm")
        if each.get("AlarmName") == "headrace-prod-detection/v2/errors"
    ]
    assert alarmed(state_change(alarm, value="OK"), catalog, prefix="headrace-prod") is None


def test_a_shadow_may_ask_and_count_and_forget(synthesised: Synthesised) -> None:
    """It invokes the declared endpoints, writes counts, reads and deletes copies and nothing else of a job."""
    assert _may(synthesised, "ShadowsShadow") == {
        *("sagemaker:InvokeEndpoint", "dynamodb:PutItem", "s3:GetObject", "s3:DeleteObject"),
        *("kms:Decrypt", "kms:GenerateDataKey", "sqs:ReceiveMessage", "sqs:DeleteMessage"),
        *("sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"),
    }
    for statement in _statements(synthesised, "ShadowsShadow"):
        resources = json.dumps(statement["Resource"])
        if "s3:GetObject" in _listed(statement["Action"]):
            assert "StorageJobs" in resources
            assert resources.endswith('/shadow/*"]]}')
        if statement["Action"] == "sagemaker:InvokeEndpoint":
            assert "*" not in resources


def test_predict_hands_copies_over_and_cannot_read_them(synthesised: Synthesised) -> None:
    """It writes below `shadow/` and sends to the queue; both names reach it."""
    statements = _statements(synthesised, "FunctionsPredict")
    (write,) = [each for each in statements if "/shadow/*" in json.dumps(each["Resource"])]
    assert _listed(write["Action"]) == ["s3:PutObject"]
    assert fnmatchcase(key_of("detection", "0" * 32), "shadow/*")
    (environment,) = [
        each["Environment"]["Variables"]
        for each in synthesised.properties("AWS::Lambda::Function")
        if each["FunctionName"].endswith("-predict")
    ]
    assert environment["HEADRACE_SHADOW_QUEUE"]["Ref"].startswith("ShadowsQueue")


def test_copies_go_within_a_day_and_their_messages_within_the_hour(synthesised: Synthesised) -> None:
    """Old versions of a copy go too; a message that cannot be worked off is dropped, and kept nowhere else."""
    (bucket,) = [
        each for name, each in synthesised.of_type("AWS::S3::Bucket").items() if name.startswith("StorageJobs")
    ]
    (rule,) = [
        each for each in bucket["Properties"]["LifecycleConfiguration"]["Rules"] if each.get("Prefix") == "shadow/"
    ]
    assert rule["ExpirationInDays"] == 1
    assert rule["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    (queue,) = [each for each in synthesised.properties("AWS::SQS::Queue") if each["QueueName"].endswith("-shadow")]
    assert queue["MessageRetentionPeriod"] == KEPT_S
    assert queue["VisibilityTimeout"] == VISIBILITY_S
    assert "RedrivePolicy" not in queue


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_shadows_are_few_at_a_time(stages: dict[str, Synthesised], stage: str) -> None:
    """As many as the function has concurrency: what is above waits, and is never refused."""
    (mapping,) = [
        each
        for each in stages[stage].properties("AWS::Lambda::EventSourceMapping")
        if "ShadowsShadow" in json.dumps(each["FunctionName"])
    ]
    assert mapping["BatchSize"] == BATCH_MAX
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"]["MaximumConcurrency"] == (
        STAGES[stage].functions["shadow"].reserved_concurrency or 2
    )


def test_versions_are_registered_in_a_group_of_their_endpoint(stages: dict[str, Synthesised]) -> None:
    """One group per declared endpoint, which the platform makes before any endpoint; production keeps it."""
    for name, kept in (("dev", "Delete"), ("prod", "Retain")):
        groups = stages[name].of_type("AWS::SageMaker::ModelPackageGroup")
        assert {each["Properties"]["ModelPackageGroupName"] for each in groups.values()} == {
            *(f"headrace-{name}-detection", f"headrace-{name}-sentiment"),
        }
        assert {each["DeletionPolicy"] for each in groups.values()} == {kept}
        assert set(groups) <= set(stages[name].platform["Resources"])


def test_operators_have_a_policy_that_nobody_holds_yet(synthesised: Synthesised) -> None:
    """It registers versions and steers rollouts of this stage; it invokes nothing, deletes nothing, passes no role."""
    (policy,) = synthesised.properties("AWS::IAM::ManagedPolicy")
    statements = policy["PolicyDocument"]["Statement"]
    actions = {action for each in statements for action in _listed(each["Action"])}
    assert policy["ManagedPolicyName"].endswith("-rollout-operator")
    assert not {"Users", "Roles", "Groups"} & set(policy)
    assert actions == {
        *("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query", "states:StartExecution"),
        *("sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig", "sagemaker:DescribeInferenceComponent"),
        *("sagemaker:DescribeModel", "sagemaker:DescribeModelPackageGroup", "sagemaker:ListModelPackageGroups"),
        *("sagemaker:ListModelPackages", "sagemaker:CreateModelPackage", "sagemaker:DescribeModelPackage"),
        *("sagemaker:UpdateModelPackage", "s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"),
        *("kms:Decrypt", "kms:GenerateDataKey", "cloudformation:DescribeStacks"),
    }
    anywhere = {action for each in statements if each["Resource"] == "*" for action in _listed(each["Action"])}
    assert anywhere == {"sagemaker:ListModelPackageGroups", "sagemaker:ListModelPackages"}


def test_a_deployment_says_where_rollouts_are(synthesised: Synthesised) -> None:
    """The machine and the policy are outputs."""
    assert {"RolloutMachine", "RolloutOperator"} <= set(synthesised.platform["Outputs"])
