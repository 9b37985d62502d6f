"""That the parts of a deployment name each other rightly."""

from __future__ import annotations

import ast
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from headrace_aws.settings import (
    AuthorizerSettings,
    BatchFinishSettings,
    BatchPlanSettings,
    BatchScoreSettings,
    BatchStartSettings,
    FallbackSettings,
    JobRunSettings,
    NotifySettings,
    PredictSettings,
    RolloutStepSettings,
    ShadowSettings,
)
from headrace_aws.telemetry import counts_of
from infra_cdk.stages import stage_named
from infra_cdk.synth import warm_functions
from tests.infrastructure.conftest import Synthesised, synthesise

ROOT = Path(__file__).resolve().parents[2]
SETTINGS: dict[str, type[Any]] = {
    "authorizer": AuthorizerSettings,
    "predict": PredictSettings,
    "fallback": FallbackSettings,
    "job_run": JobRunSettings,
    "notify": NotifySettings,
    "rollout_step": RolloutStepSettings,
    "shadow": ShadowSettings,
    "batch_start": BatchStartSettings,
    "batch_plan": BatchPlanSettings,
    "batch_score": BatchScoreSettings,
    "batch_finish": BatchFinishSettings,
}
LAPTOP_ONLY = "HEADRACE_WEBHOOKS_LOOPBACK"
"""With it, webhooks may name addresses that are no public ones."""


def _functions(synthesised: Synthesised) -> dict[str, dict[str, Any]]:
    """Functions by the last word of their name."""
    return {each["FunctionName"].rpartition("-")[2]: each for each in synthesised.properties("AWS::Lambda::Function")}


def test_every_handler_named_exists(synthesised: Synthesised) -> None:
    """A handler string is a module of the repository and a function in it."""
    for function in _functions(synthesised).values():
        module, _, name = function["Handler"].rpartition(".")
        source = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        assert name in _bound(ast.parse(source.read_text(encoding="utf-8")))


def _bound(tree: ast.Module) -> set[str]:
    """Names that a module binds at its top."""
    names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    targets = [target for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    return names | {target.id for target in targets if isinstance(target, ast.Name)}


@pytest.mark.parametrize("name", list(SETTINGS))
def test_the_environment_is_what_the_settings_require(synthesised: Synthesised, name: str) -> None:
    """No setting is missing, none is given that nobody reads, and what is for a laptop is given nowhere."""
    environment = _functions(synthesised)[name]["Environment"]["Variables"]
    required = {f"HEADRACE_{field.name.upper()}" for field in fields(SETTINGS[name])} - {LAPTOP_ONLY}
    assert {variable for variable in environment if variable.startswith("HEADRACE_")} == required
    assert environment["POWERTOOLS_SERVICE_NAME"] == name


def test_functions_run_where_their_layers_were_built_for(synthesised: Synthesised) -> None:
    """Python 3.13 on arm64, traced, and everything integrated through the alias."""
    for function in _functions(synthesised).values():
        assert function["Runtime"] == "python3.13"
        assert function["Architectures"] == ["arm64"]
        assert function["TracingConfig"] == {"Mode": "Active"}
    assert {alias["Name"] for alias in synthesised.properties("AWS::Lambda::Alias")} == {"live"}
    for permission in synthesised.properties("AWS::Lambda::Permission"):
        assert "Live" in permission["FunctionName"]["Ref"]
        assert permission["SourceArn"]


def test_only_production_starts_from_snapshots(stages: dict[str, Synthesised]) -> None:
    """Authorizer and predict restore from a snapshot in production; concurrency is reserved there alone."""
    dev, prod = (_functions(stages[name]) for name in ("dev", "prod"))
    assert {name for name, each in prod.items() if "SnapStart" in each} == {"authorizer", "predict"}
    assert not [name for name, each in dev.items() if "SnapStart" in each]
    assert all("ReservedConcurrentExecutions" in each for each in prod.values())
    assert dev["predict"]["MemorySize"] == 1769


def test_only_productions_stand_in_is_kept_warm(stages: dict[str, Synthesised]) -> None:
    """One environment of the fallback waits with its models loaded in production, and nothing does in development."""
    for stage, expected in (("dev", {}), ("prod", {"FallbackLive": 1})):
        warm = {
            name: each["Properties"]["ProvisionedConcurrencyConfig"]["ProvisionedConcurrentExecutions"]
            for name, each in stages[stage].of_type("AWS::Lambda::Alias").items()
            if "ProvisionedConcurrencyConfig" in each["Properties"]
        }
        assert {
            name.removeprefix("Functions")[: len("FallbackLive")]: count for name, count in warm.items()
        } == expected
    assert warm_functions(stage_named("prod")) == ["headrace-prod-fallback: 1 x 3538 MB kept warm"]
    assert warm_functions(stage_named("dev")) == []


def test_every_declared_version_is_hosted_and_scaled(synthesised: Synthesised) -> None:
    """Each version with `hosting: endpoint` is a model, a variant and a scaling target; the others are not."""
    models = synthesised.properties("AWS::SageMaker::Model")
    digests = {each["PrimaryContainer"]["Environment"]["HEADRACE_ARTIFACT_DIGEST"] for each in models}
    assert digests == {f"sha256:{letter * 64}" for letter in "acd"}
    targets = sorted(
        each["ResourceId"] for each in synthesised.properties("AWS::ApplicationAutoScaling::ScalableTarget")
    )
    variants = sorted(
        f"{variant['VariantName']}"
        for config in synthesised.properties("AWS::SageMaker::EndpointConfig")
        for variant in config["ProductionVariants"]
    )
    assert variants == ["v1", "v1", "v2"]
    assert [target.partition("-")[2].partition("-")[2] for target in targets] == [
        *("detection/variant/v1", "detection/variant/v2", "sentiment/variant/v1"),
    ]


def test_a_container_is_told_what_it_runs_on(synthesised: Synthesised) -> None:
    """`HEADRACE_ACCELERATOR` is the declared accelerator of the endpoint that the model belongs to."""
    told = {
        environment["HEADRACE_ARTIFACT_DIGEST"].removeprefix("sha256:")[0]: environment["HEADRACE_ACCELERATOR"]
        for environment in (
            each["PrimaryContainer"]["Environment"] for each in synthesised.properties("AWS::SageMaker::Model")
        )
    }
    assert told == {"a": "gpu", "c": "cpu", "d": "cpu"}


def test_scaling_follows_the_declaration_within_the_stages_cap(stages: dict[str, Synthesised]) -> None:
    """Production takes the declared instances; development is capped at one per variant."""
    for stage, expected in (("prod", {(2, 4), (1, 4)}), ("dev", {(1, 1)})):
        targets = stages[stage].properties("AWS::ApplicationAutoScaling::ScalableTarget")
        assert {(each["MinCapacity"], each["MaxCapacity"]) for each in targets} == expected
    policies = stages["prod"].properties("AWS::ApplicationAutoScaling::ScalingPolicy")
    tracked = [each["TargetTrackingScalingPolicyConfiguration"] for each in policies]
    assert sorted(each["TargetValue"] for each in tracked) == [4, 4, 8]
    assert {each["PredefinedMetricSpecification"]["PredefinedMetricType"] for each in tracked} == {
        "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    }


def test_endpoints_keep_their_capacity_and_roll_back(stages: dict[str, Synthesised]) -> None:
    """Deployments keep scaled counts, take declared weights, and are watched by two alarms per variant."""
    for endpoint in stages["prod"].properties("AWS::SageMaker::Endpoint"):
        hosted = 2 if endpoint["EndpointName"].endswith("detection") else 1
        guard = endpoint["DeploymentConfig"]
        routing = guard["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]
        assert endpoint["RetainAllVariantProperties"] is True
        assert endpoint["ExcludeRetainedVariantProperties"] == [{"VariantPropertyType": "DesiredWeight"}]
        assert len(guard["AutoRollbackConfiguration"]["Alarms"]) == 2 * hosted
        # One instance cannot have a canary of half or less.
        assert routing["Type"] == ("CANARY" if hosted == 2 else "ALL_AT_ONCE")


def test_several_instance_types_become_a_pool_in_order(stages: dict[str, Synthesised]) -> None:
    """The second type is taken when the first cannot be had; a single type is said plainly."""
    variants = {
        str(config["ProductionVariants"][0].get("InstanceType")): config["ProductionVariants"][0]
        for config in stages["prod"].properties("AWS::SageMaker::EndpointConfig")
    }
    assert variants["None"]["InstancePools"] == [
        {"InstanceType": "ml.m5.xlarge", "Priority": 1},
        {"InstanceType": "ml.c5.xlarge", "Priority": 2},
    ]
    assert "InstancePools" not in variants["ml.g5.xlarge"]


def test_volume_keys_are_given_only_where_sagemaker_takes_them(synthesised: Synthesised) -> None:
    """An instance with local storage refuses a key and encrypts in hardware; the others get the stage's key."""
    for config in synthesised.properties("AWS::SageMaker::EndpointConfig"):
        local = config["ProductionVariants"][0].get("InstanceType") == "ml.g5.xlarge"
        assert ("KmsKeyId" in config) is not local


def test_what_is_always_on_is_stated(stages: dict[str, Synthesised]) -> None:
    """Instance-hours by endpoint, counted over all hosted versions, in the app's output and in the stack's."""
    assert stages["prod"].costs == [
        "detection: 4 x ml.m5.xlarge (or ml.c5.xlarge) always on = 2920 instance-hours a month; at most 8 under load",
        "sentiment: 1 x ml.g5.xlarge always on = 730 instance-hours a month; at most 4 under load",
    ]
    assert stages["prod"].endpoints["Outputs"]["AlwaysOn"]["Value"] == " | ".join(stages["prod"].costs)


def test_alarms_watch_the_declared_objectives(stages: dict[str, Synthesised]) -> None:
    """Latency alarms stand at the objective in microseconds; errors at fourteen times the budget's rate."""
    alarms = {
        each["AlarmName"]: each for each in stages["prod"].properties("AWS::CloudWatch::Alarm") if "AlarmName" in each
    }
    assert alarms["headrace-prod-sentiment/v1/latency"]["Threshold"] == 500_000
    assert alarms["headrace-prod-sentiment/v1/errors"]["Threshold"] == pytest.approx(0.0144)
    assert alarms["headrace-prod-detection/v2/latency"]["Threshold"] == 300_000
    assert alarms["headrace-prod-detection/v2/errors"]["Threshold"] == pytest.approx(0.144)


@pytest.mark.parametrize(
    "part",
    [
        *("Api5Xx", "AuthorizerThrottles", "AuthorizerDuration", "PredictErrors", "PredictThrottles", "FallbackErrors"),
        *("Degradedsentiment", "sentimentUnserved", "Shedsentiment", "StoreFailuressentiment"),
        *("StateThrottles", "StateErrors", "RolloutstepErrors", "RolloutstepDuration", "ShadowErrors"),
        *("RolloutsFailed", "RolloutsTimedOut", "RolloutsThrottled", "RoutingStalesentiment"),
    ],
)
def test_the_platform_is_watched_too(synthesised: Synthesised, part: str) -> None:
    """Errors, throttles, degraded answers, shed requests and a state table in trouble each have an alarm."""
    assert [name for name in synthesised.of_type("AWS::CloudWatch::Alarm") if name.lower().startswith(part.lower())]


def test_refused_keys_are_no_alarm(synthesised: Synthesised) -> None:
    """Refusing a key is an error to Lambda, so that nothing watches the authorizer's errors."""
    alarms = synthesised.of_type("AWS::CloudWatch::Alarm")
    assert not [name for name in alarms if name.startswith("AuthorizerErrors")]


def test_unanswered_requests_are_watched_at_the_declared_availability(synthesised: Synthesised) -> None:
    """The threshold is what 1 - availability leaves, over the counts that `predict` makes for this endpoint."""
    alarms = {
        each["AlarmName"].partition("-")[2].partition("-")[2]: each
        for each in synthesised.properties("AWS::CloudWatch::Alarm")
        if each.get("AlarmName", "").endswith("-unserved")
    }
    assert {name: each["Threshold"] for name, each in alarms.items()} == {
        "sentiment-unserved": 0.001,
        "detection-unserved": 0.01,
    }
    parts = [part["MetricStat"]["Metric"] for part in alarms["sentiment-unserved"]["Metrics"] if "MetricStat" in part]
    assert sorted(part["MetricName"] for part in parts) == ["Requests", "Unserved"]
    for part in parts:
        dimensions = {each["Name"]: each["Value"] for each in part["Dimensions"]}
        assert dimensions == {"service": "predict", "endpoint": "sentiment"}


def _dashboards(synthesised: Synthesised, *, of_endpoints: bool) -> list[dict[str, Any]]:
    """The pages of endpoints, or that of batches."""
    boards = synthesised.properties("AWS::CloudWatch::Dashboard")
    return [each for each in boards if each["DashboardName"].endswith("-batches") is not of_endpoints]


def test_graphs_read_what_the_functions_are_told_to_count(synthesised: Synthesised) -> None:
    """The namespace in the functions' environment is the dashboards', and callers' latency and failures are drawn."""
    told = {
        each["Environment"]["Variables"]["POWERTOOLS_METRICS_NAMESPACE"]
        for each in synthesised.properties("AWS::Lambda::Function")
    }
    assert told == {"Headrace"}
    for board in _dashboards(synthesised, of_endpoints=True):
        drawn = json.dumps(board["DashboardBody"]).replace("\\", "")
        for metric in (*counts_of({"status": 200}), "StoreFailures", "Latency"):
            assert f'"Headrace","{metric}"' in drawn


def test_the_state_table_is_watched_whole(synthesised: Synthesised) -> None:
    """Throttles of reads and writes, and failures of every operation, are counted for this one table."""
    alarms = {
        name: each["Properties"]
        for name, each in synthesised.of_type("AWS::CloudWatch::Alarm").items()
        if name.startswith(("StateThrottles", "StateErrors"))
    }
    counted = [
        part["MetricStat"]["Metric"] for each in alarms.values() for part in each["Metrics"] if "MetricStat" in part
    ]
    dimensions = [{each["Name"]: each["Value"] for each in metric["Dimensions"]} for metric in counted]
    assert all("StateTable" in json.dumps(each["TableName"]) for each in dimensions)
    assert {each["Operation"] for each in dimensions if "Operation" in each} == {
        *("GetItem", "BatchGetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "TransactWriteItems"),
    }
    assert {metric["MetricName"] for metric in counted} == {"ReadThrottleEvents", "WriteThrottleEvents", "SystemErrors"}
    assert {each["Threshold"] for each in alarms.values()} == {0}


def test_only_a_store_that_fails_all_the_time_is_an_alarm(synthesised: Synthesised) -> None:
    """A call that misses its time now and then is what the policy is made for: five minutes in a row are not."""
    alarms = synthesised.of_type("AWS::CloudWatch::Alarm")
    needed = [each["Properties"] for name, each in alarms.items() if name.startswith("StoreFailures")]
    assert len(needed) == 2
    for each in needed:
        assert (each["DatapointsToAlarm"], each["EvaluationPeriods"], each["Threshold"]) == (5, 5, 0)


def test_issuers_of_tokens_are_checked_before_deployment() -> None:
    """A list that the authorizer would refuse at its start is refused when the stage is made; stages trust none yet."""
    stage = stage_named("prod")
    assert stage.oidc_issuers == "[]"
    entry = {
        "issuer": "https://login.example.com/",
        "audience": "https://api.example.com",
        "jwks_uri": "https://login.example.com/keys",
        "tenants": ["acme"],
        "default_plan": "standard",
    }
    assert replace(stage, oidc_issuers=json.dumps([entry])).oidc_issuers
    for wrong in ([{**entry, "jwks_uri": "http://login.example.com/keys"}], [{**entry, "issuer": "x" * 3000}]):
        with pytest.raises(ValueError, match="issuers"):
            replace(stage, oidc_issuers=json.dumps(wrong))


def test_each_endpoint_has_a_dashboard(synthesised: Synthesised) -> None:
    """One page per endpoint, under the endpoint's own name."""
    boards = {each["DashboardName"] for each in _dashboards(synthesised, of_endpoints=True)}
    assert boards == {each["EndpointName"] for each in synthesised.properties("AWS::SageMaker::Endpoint")}


def test_a_third_endpoint_is_one_folder(declared: Path, tmp_path: Path) -> None:
    """Copying the declarations and adding a folder adds its whole endpoint, and the right to invoke it."""
    folder = tmp_path / "endpoints"
    for source in declared.glob("*/*"):
        (folder / source.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / source.parent.name / source.name).write_bytes(source.read_bytes())
    (folder / "plans.yaml").write_bytes((declared / "plans.yaml").read_bytes())
    text = (declared / "detection" / "endpoint.yaml").read_text(encoding="utf-8")
    (folder / "third").mkdir()
    (folder / "third" / "endpoint.yaml").write_text(text.replace("name: detection", "name: third"), encoding="utf-8")
    added = synthesise("dev", endpoints=folder, folder=tmp_path, checked=False)
    names = {each["EndpointName"] for each in added.properties("AWS::SageMaker::Endpoint")}
    assert names == {"headrace-dev-detection", "headrace-dev-sentiment", "headrace-dev-third"}
    assert ":endpoint/headrace-dev-third" in str(added.properties("AWS::IAM::Policy"))
    assert len(added.of_type("AWS::ApplicationAutoScaling::ScalableTarget")) == 5


def test_the_repositorys_own_declarations_synthesise(tmp_path: Path) -> None:
    """Every endpoint that this repository declares becomes one SageMaker endpoint."""
    own = synthesise("prod", endpoints=ROOT / "endpoints", folder=tmp_path, checked=False)
    declared = {f"headrace-prod-{path.parent.name}" for path in (ROOT / "endpoints").glob("*/endpoint.yaml")}
    assert {each["EndpointName"] for each in own.properties("AWS::SageMaker::Endpoint")} == declared
