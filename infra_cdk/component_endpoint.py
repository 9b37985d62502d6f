"""One SageMaker endpoint from one declaration whose versions share its instances, each an inference component.

A new version is a new component: it is placed beside those that serve, and nothing of theirs is replaced. The endpoint
keeps its one variant, so that its own updates are always guarded. SageMaker sets the number of instances by the copies
on them, Application Auto Scaling the number of copies (docs/decisions/0026).
"""

from __future__ import annotations

from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from headrace.declaration.schema import EndpointDeclaration
from infra_cdk.capacity import SHARED_VARIANT, Component, SharedFleet
from infra_cdk.dashboard import dashboard
from infra_cdk.endpoint import track_concurrency
from infra_cdk.hosting import (
    CANARY_WAIT_S,
    DOWNLOAD_TIMEOUT_S,
    SHIFT_TIMEOUT_S,
    STARTUP_TIMEOUT_S,
    Hosting,
    guarded,
    make_endpoint,
    make_model,
    production_variant,
    rollback_alarms,
)
from infra_cdk.observability import Place, Watched, place_alarms, unserved_alarm

BATCH_PERCENT = 50
"""Of a component's copies, replaced at a time: the most that there may be (InferenceComponentRollingUpdatePolicy)."""
_CONCURRENCY = "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"


class ComponentEndpoint(Construct):
    """Models, instances, components, scaling, alarms and dashboard of one declaration.

    `variants_change` says that it had variants until now: such an update cannot be guarded.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        declaration: EndpointDeclaration,
        fleet: SharedFleet,
        image_uri: str,
        hosting: Hosting,
        variants_change: bool = False,
    ) -> None:
        super().__init__(scope, id_)
        self.endpoint_name = f"{hosting.prefix}-{declaration.name}"
        self.models = {
            each.version: make_model(
                self, each.version, each.artifact_hex, declaration=declaration, image_uri=image_uri, hosting=hosting
            )
            for each in fleet.components
        }
        config = sagemaker.CfnEndpointConfig(
            self,
            "Config",
            production_variants=[
                production_variant(
                    SHARED_VARIANT,
                    None,
                    instance_types=fleet.instance_types,
                    instances=fleet.min_instances,
                    weight=1,
                    scaled=(fleet.min_instances, fleet.max_instances),
                )
            ],
            # What a variant's model says elsewhere: whose rights the instances have, and that they reach nothing.
            execution_role_arn=hosting.role.role_arn,
            enable_network_isolation=True,
            kms_key_id=hosting.artifacts.key_arn if fleet.volume_key_allowed else None,
        )
        places = {each: Place(self.endpoint_name, each.version, each.name) for each in fleet.components}
        watched = {place: place_alarms(self, declaration, place) for place in places.values()}
        deployment = None if variants_change else guarded("ALL_AT_ONCE", rollback_alarms(watched))
        self._endpoint = make_endpoint(self, self.endpoint_name, config, deployment)
        for each, place in places.items():
            self._component(each, fleet=fleet, watched=watched[place])
        dashboard(
            self,
            declaration,
            endpoint=self.endpoint_name,
            watched=watched,
            unserved=unserved_alarm(self, declaration, endpoint=self.endpoint_name),
        )
        self.alarms: list[cloudwatch.Alarm] = [part.alarm for pair in watched.values() for part in pair]

    def _component(self, each: Component, *, fleet: SharedFleet, watched: tuple[Watched, Watched]) -> None:
        """The version's copies, and what scales them; an update is rolled back by the version's own alarms."""
        kind = sagemaker.CfnInferenceComponent
        placed = kind(
            self,
            f"Component-{each.version}",
            inference_component_name=each.name,
            endpoint_name=self.endpoint_name,
            variant_name=SHARED_VARIANT,
            specification=kind.InferenceComponentSpecificationProperty(
                model_name=self.models[each.version].attr_model_name,
                compute_resource_requirements=kind.InferenceComponentComputeResourceRequirementsProperty(
                    min_memory_required_in_mb=fleet.memory_mb,
                    number_of_cpu_cores_required=fleet.cpus,
                    number_of_accelerator_devices_required=fleet.accelerators or None,
                ),
                startup_parameters=kind.InferenceComponentStartupParametersProperty(
                    container_startup_health_check_timeout_in_seconds=STARTUP_TIMEOUT_S,
                    model_data_download_timeout_in_seconds=DOWNLOAD_TIMEOUT_S,
                ),
            ),
            runtime_config=kind.InferenceComponentRuntimeConfigProperty(copy_count=fleet.min_copies),
            deployment_config=kind.InferenceComponentDeploymentConfigProperty(
                rolling_update_policy=kind.InferenceComponentRollingUpdatePolicyProperty(
                    maximum_batch_size=kind.InferenceComponentCapacitySizeProperty(
                        type="CAPACITY_PERCENT", value=BATCH_PERCENT
                    ),
                    wait_interval_in_seconds=CANARY_WAIT_S,
                    maximum_execution_timeout_in_seconds=SHIFT_TIMEOUT_S,
                ),
                auto_rollback_configuration=kind.AutoRollbackConfigurationProperty(
                    alarms=[kind.AlarmProperty(alarm_name=part.alarm.alarm_name) for part in watched]
                ),
            ),
        )
        placed.node.add_dependency(self._endpoint)
        target = scaling.CfnScalableTarget(
            self,
            f"Scaling-{each.version}",
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:inference-component:DesiredCopyCount",
            resource_id=f"inference-component/{each.name}",
            min_capacity=fleet.min_copies,
            max_capacity=fleet.max_copies,
        )
        target.node.add_dependency(placed)
        track_concurrency(
            self,
            f"ScalingPolicy-{each.version}",
            target,
            policy=f"{each.name}-concurrency",
            metric=_CONCURRENCY,
            aim=fleet.target_concurrency,
        )
