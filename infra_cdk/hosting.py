"""What every endpoint is made of, whether its versions have instances of their own or share them.

On L1 constructs: the L2 lacks nearly all that matters here. Kept on purpose: `RetainAllVariantProperties`. Without it
every deployment would set the instance count back to what the template says and undo the scaling (aws-cdk#23151).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from headrace.declaration.schema import EndpointDeclaration
from infra_cdk.capacity import CANARY_PERCENT
from infra_cdk.nag import acknowledge
from infra_cdk.observability import Place, Watched

CANARY_WAIT_S = 300
TERMINATION_WAIT_S = 120
SHIFT_TIMEOUT_S = 3600
ROLLBACK_ALARMS_MAX = 10
"""What one endpoint's guardrail may watch (SageMaker API, AutoRollbackConfig)."""
STARTUP_TIMEOUT_S = 600
DOWNLOAD_TIMEOUT_S = 600
UNGUARDED = "headrace-sagemaker::HR-SM3"


@dataclass(frozen=True, slots=True)
class ArtifactStore:
    """Where artifacts lie, as the platform stack exports it: the bucket, and the key that encrypts it."""

    bucket_name: str
    bucket_arn: str
    key_arn: str


@dataclass(frozen=True, slots=True)
class FlowStores:
    """Where what models read and write by themselves lies: of asynchronous requests, and of transform jobs."""

    jobs_name: str
    jobs_arn: str
    batches_arn: str


@dataclass(frozen=True, slots=True)
class Hosting:
    """What all endpoints of a stage share."""

    prefix: str
    role: iam.IRole
    artifacts: ArtifactStore
    flows: FlowStores


def make_model(
    scope: Construct,
    version: str,
    artifact_hex: str,
    *,
    declaration: EndpointDeclaration,
    image_uri: str,
    hosting: Hosting,
) -> sagemaker.CfnModel:
    """The model of one version: the serving image, and the version's artifact."""
    batching = declaration.batching
    model = sagemaker.CfnModel(
        scope,
        f"Model-{version}",
        execution_role_arn=hosting.role.role_arn,
        # The container can reach nothing: SageMaker fetches the artifact for it.
        enable_network_isolation=True,
        primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
            image=image_uri,
            model_data_url=f"s3://{hosting.artifacts.bucket_name}/{artifact_hex}/model.tar.gz",
            environment={
                "HEADRACE_ACCELERATOR": declaration.hardware.accelerator,
                "HEADRACE_ARTIFACT_DIGEST": f"sha256:{artifact_hex}",
                "HEADRACE_BATCH_MAX_SIZE": str(batching.max_size),
                "HEADRACE_BATCH_MAX_DELAY_MS": str(batching.max_delay_ms),
                "HEADRACE_QUEUE_MAX": str(batching.queue_max),
            },
        ),
    )
    # SageMaker tries the artifact with this role when the model is created, so its policy must be there by then.
    model.node.add_dependency(hosting.role)
    return model


def production_variant(
    name: str,
    model: sagemaker.CfnModel | None,
    *,
    instance_types: tuple[str, ...],
    instances: int,
    weight: int,
    scaled: tuple[int, int] | None = None,
) -> sagemaker.CfnEndpointConfig.ProductionVariantProperty:
    """One hosted version on its instances; without a model, instances for components.

    Args:
        name: of the variant.
        model: what runs on it.
        instance_types: the first is preferred.
        instances: how many there are at first.
        weight: the share of untargeted traffic.
        scaled: the least and the most instances, where SageMaker itself follows the copies that are placed on them.
    """
    pools = [
        sagemaker.CfnEndpointConfig.InstancePoolProperty(instance_type=kind, priority=priority)
        for priority, kind in enumerate(instance_types, start=1)
    ]
    several = len(pools) > 1
    return sagemaker.CfnEndpointConfig.ProductionVariantProperty(
        variant_name=name,
        model_name=None if model is None else model.attr_model_name,
        initial_variant_weight=weight,
        initial_instance_count=instances,
        # Several types are tried in order when the first cannot be had; one is simply the type.
        instance_pools=pools if several else None,
        instance_type=None if several else instance_types[0],
        routing_config=sagemaker.CfnEndpointConfig.RoutingConfigProperty(routing_strategy="LEAST_OUTSTANDING_REQUESTS"),
        managed_instance_scaling=None
        if scaled is None
        else sagemaker.CfnEndpointConfig.ManagedInstanceScalingProperty(
            status="ENABLED", min_instance_count=scaled[0], max_instance_count=scaled[1]
        ),
        # A component says for itself how long it may take to start.
        container_startup_health_check_timeout_in_seconds=None if model is None else STARTUP_TIMEOUT_S,
        model_data_download_timeout_in_seconds=None if model is None else DOWNLOAD_TIMEOUT_S,
    )


def make_endpoint(
    scope: Construct,
    name: str,
    config: sagemaker.CfnEndpointConfig,
    deployment: sagemaker.CfnEndpoint.DeploymentConfigProperty | None,
) -> sagemaker.CfnEndpoint:
    """The endpoint, which keeps its scaled instances; without `deployment` an update is not watched by alarms."""
    endpoint = sagemaker.CfnEndpoint(
        scope,
        "Endpoint",
        endpoint_name=name,
        endpoint_config_name=config.attr_endpoint_config_name,
        retain_all_variant_properties=True,
        # The declared weights win: they are how a split is changed. The instance count stays the scaler's.
        exclude_retained_variant_properties=[
            sagemaker.CfnEndpoint.VariantPropertyProperty(variant_property_type="DesiredWeight")
        ],
        retain_deployment_config=False,
        deployment_config=deployment,
    )
    if deployment is None:
        acknowledge(
            endpoint,
            UNGUARDED,
            "its variants change, and guardrails take none but the old names; a new version has no traffic before its"
            " rollout, which watches it (docs/decisions/0026)",
        )
    return endpoint


def rollback_alarms(watched: Mapping[Place, tuple[Watched, Watched]]) -> list[cloudwatch.Alarm]:
    """Errors of every version first, then latencies, as many as a guardrail takes."""
    errors, latencies = ([pair[part].alarm for pair in watched.values()] for part in (0, 1))
    return [*errors, *latencies][:ROLLBACK_ALARMS_MAX]


def guarded(
    shift: Literal["CANARY", "ALL_AT_ONCE"], alarms: list[cloudwatch.Alarm]
) -> sagemaker.CfnEndpoint.DeploymentConfigProperty:
    """Blue/green, the new fleet watched by the alarms: any of them brings the old one back (deployment guardrails)."""
    canary = shift == "CANARY"
    routing = sagemaker.CfnEndpoint.TrafficRoutingConfigProperty(
        type=shift,
        canary_size=sagemaker.CfnEndpoint.CapacitySizeProperty(type="CAPACITY_PERCENT", value=CANARY_PERCENT)
        if canary
        else None,
        wait_interval_in_seconds=CANARY_WAIT_S,
    )
    return sagemaker.CfnEndpoint.DeploymentConfigProperty(
        blue_green_update_policy=sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty(
            traffic_routing_configuration=routing,
            termination_wait_in_seconds=TERMINATION_WAIT_S,
            maximum_execution_timeout_in_seconds=SHIFT_TIMEOUT_S,
        ),
        auto_rollback_configuration=sagemaker.CfnEndpoint.AutoRollbackConfigProperty(
            alarms=[sagemaker.CfnEndpoint.AlarmProperty(alarm_name=each.alarm_name) for each in alarms]
        ),
    )
