"""One SageMaker endpoint from one declaration, on L1 constructs: the L2 lacks nearly all that matters here.

Kept on purpose: `RetainAllVariantProperties`, without which every deployment would set the instance count back to what
the template says and undo the scaling (aws-cdk#23151). Left out on purpose: `ManagedInstanceScaling`, because
Application Auto Scaling sets the same count and two scalers of one number undo each other (docs/decisions/0011).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from headrace.declaration.schema import EndpointDeclaration
from infra_cdk.capacity import CANARY_PERCENT, Fleet, Variant
from infra_cdk.dashboard import dashboard
from infra_cdk.observability import Watched, endpoint_alarms, unserved_alarm

CANARY_WAIT_S = 300
TERMINATION_WAIT_S = 120
SHIFT_TIMEOUT_S = 3600
SCALE_OUT_COOLDOWN_S = 60
SCALE_IN_COOLDOWN_S = 300
ROLLBACK_ALARMS_MAX = 10
"""What one endpoint's guardrail may watch (SageMaker API, AutoRollbackConfig)."""
STARTUP_TIMEOUT_S = 600
DOWNLOAD_TIMEOUT_S = 600
_CONCURRENCY = "SageMakerVariantConcurrentRequestsPerModelHighResolution"


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


class Endpoint(Construct):
    """Models, configuration, endpoint, scaling, alarms and dashboard of one declaration."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        declaration: EndpointDeclaration,
        fleet: Fleet,
        image_uri: str,
        hosting: Hosting,
    ) -> None:
        super().__init__(scope, id_)
        self.endpoint_name = f"{hosting.prefix}-{declaration.name}"
        self._hosting = hosting
        self.models = models = {
            variant.name: self._model(variant, declaration=declaration, image_uri=image_uri)
            for variant in fleet.variants
        }
        config = sagemaker.CfnEndpointConfig(
            self,
            "Config",
            production_variants=[
                production_variant(
                    variant.name,
                    models[variant.name],
                    instance_types=fleet.instance_types,
                    instances=variant.min_instances,
                    weight=variant.weight,
                )
                for variant in fleet.variants
            ],
            kms_key_id=hosting.artifacts.key_arn if fleet.volume_key_allowed else None,
        )
        watched = {
            variant.name: endpoint_alarms(self, declaration, endpoint=self.endpoint_name, variant=variant.name)
            for variant in fleet.variants
        }
        self._endpoint = sagemaker.CfnEndpoint(
            self,
            "Endpoint",
            endpoint_name=self.endpoint_name,
            endpoint_config_name=config.attr_endpoint_config_name,
            retain_all_variant_properties=True,
            # The declared weights win: they are how a split is changed. The instance count stays the scaler's.
            exclude_retained_variant_properties=[
                sagemaker.CfnEndpoint.VariantPropertyProperty(variant_property_type="DesiredWeight")
            ],
            retain_deployment_config=False,
            deployment_config=guarded(fleet.traffic_shift, _rollback_alarms(watched)),
        )
        for variant in fleet.variants:
            self._scaling(variant, fleet=fleet)
        dashboard(
            self,
            declaration,
            endpoint=self.endpoint_name,
            watched=watched,
            unserved=unserved_alarm(self, declaration, endpoint=self.endpoint_name),
        )
        self.alarms: list[cloudwatch.Alarm] = [part.alarm for pair in watched.values() for part in pair]

    def _model(self, variant: Variant, *, declaration: EndpointDeclaration, image_uri: str) -> sagemaker.CfnModel:
        batching = declaration.batching
        model = sagemaker.CfnModel(
            self,
            f"Model-{variant.name}",
            execution_role_arn=self._hosting.role.role_arn,
            # The container can reach nothing: SageMaker fetches the artifact for it.
            enable_network_isolation=True,
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
                image=image_uri,
                model_data_url=f"s3://{self._hosting.artifacts.bucket_name}/{variant.artifact_hex}/model.tar.gz",
                environment={
                    "HEADRACE_ACCELERATOR": declaration.hardware.accelerator,
                    "HEADRACE_ARTIFACT_DIGEST": f"sha256:{variant.artifact_hex}",
                    "HEADRACE_BATCH_MAX_SIZE": str(batching.max_size),
                    "HEADRACE_BATCH_MAX_DELAY_MS": str(batching.max_delay_ms),
                    "HEADRACE_QUEUE_MAX": str(batching.queue_max),
                },
            ),
        )
        # SageMaker tries the artifact with this role when the model is created, so its policy must be there by then.
        model.node.add_dependency(self._hosting.role)
        return model

    def _scaling(self, variant: Variant, *, fleet: Fleet) -> None:
        target = scaling.CfnScalableTarget(
            self,
            f"Scaling-{variant.name}",
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=f"endpoint/{self.endpoint_name}/variant/{variant.name}",
            min_capacity=variant.min_instances,
            max_capacity=variant.max_instances,
        )
        target.node.add_dependency(self._endpoint)
        scaling.CfnScalingPolicy(
            self,
            f"ScalingPolicy-{variant.name}",
            policy_name=f"{self.endpoint_name}-{variant.name}-concurrency",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=scaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
                target_value=fleet.target_concurrency,
                predefined_metric_specification=scaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty(
                    predefined_metric_type=_CONCURRENCY
                ),
                scale_out_cooldown=SCALE_OUT_COOLDOWN_S,
                scale_in_cooldown=SCALE_IN_COOLDOWN_S,
            ),
        )


def _rollback_alarms(watched: dict[str, tuple[Watched, Watched]]) -> list[cloudwatch.Alarm]:
    """Errors of every variant first, then latencies, as many as a guardrail takes."""
    errors, latencies = ([pair[part].alarm for pair in watched.values()] for part in (0, 1))
    return [*errors, *latencies][:ROLLBACK_ALARMS_MAX]


def production_variant(
    name: str, model: sagemaker.CfnModel, *, instance_types: tuple[str, ...], instances: int, weight: int
) -> sagemaker.CfnEndpointConfig.ProductionVariantProperty:
    """One hosted version on its instances."""
    pools = [
        sagemaker.CfnEndpointConfig.InstancePoolProperty(instance_type=kind, priority=priority)
        for priority, kind in enumerate(instance_types, start=1)
    ]
    several = len(pools) > 1
    return sagemaker.CfnEndpointConfig.ProductionVariantProperty(
        variant_name=name,
        model_name=model.attr_model_name,
        initial_variant_weight=weight,
        initial_instance_count=instances,
        # Several types are tried in order when the first cannot be had; one is simply the type.
        instance_pools=pools if several else None,
        instance_type=None if several else instance_types[0],
        routing_config=sagemaker.CfnEndpointConfig.RoutingConfigProperty(routing_strategy="LEAST_OUTSTANDING_REQUESTS"),
        container_startup_health_check_timeout_in_seconds=STARTUP_TIMEOUT_S,
        model_data_download_timeout_in_seconds=DOWNLOAD_TIMEOUT_S,
    )


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
