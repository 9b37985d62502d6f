"""One SageMaker endpoint from one declaration, each version a production variant on instances of its own.

Left out on purpose: `ManagedInstanceScaling`, because Application Auto Scaling sets the same count and two scalers of
one number undo each other (docs/decisions/0011).
"""

from __future__ import annotations

from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from headrace.declaration.schema import EndpointDeclaration
from infra_cdk.capacity import Fleet, Variant
from infra_cdk.dashboard import dashboard
from infra_cdk.hosting import Hosting, guarded, make_endpoint, make_model, production_variant, rollback_alarms
from infra_cdk.observability import Place, place_alarms, unserved_alarm

SCALE_OUT_COOLDOWN_S = 60
SCALE_IN_COOLDOWN_S = 300
_CONCURRENCY = "SageMakerVariantConcurrentRequestsPerModelHighResolution"


class Endpoint(Construct):
    """Models, configuration, endpoint, scaling, alarms and dashboard of one declaration.

    `variants_change` says that the set of variants is another than what runs now: such an update cannot be guarded.
    """

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        declaration: EndpointDeclaration,
        fleet: Fleet,
        image_uri: str,
        hosting: Hosting,
        variants_change: bool = False,
    ) -> None:
        super().__init__(scope, id_)
        self.endpoint_name = f"{hosting.prefix}-{declaration.name}"
        self.models = models = {
            variant.name: make_model(
                self, variant.name, variant.artifact_hex, declaration=declaration, image_uri=image_uri, hosting=hosting
            )
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
        places = [Place(self.endpoint_name, variant.name) for variant in fleet.variants]
        watched = {place: place_alarms(self, declaration, place) for place in places}
        deployment = None if variants_change else guarded(fleet.traffic_shift, rollback_alarms(watched))
        self._endpoint = make_endpoint(self, self.endpoint_name, config, deployment)
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
        track_concurrency(
            self,
            f"ScalingPolicy-{variant.name}",
            target,
            policy=f"{self.endpoint_name}-{variant.name}-concurrency",
            metric=_CONCURRENCY,
            aim=fleet.target_concurrency,
        )


def track_concurrency(
    scope: Construct, id_: str, target: scaling.CfnScalableTarget, *, policy: str, metric: str, aim: int
) -> None:
    """Keep `metric`, the requests that one instance or copy works at, near `aim`: quickly out, slowly in."""
    scaling.CfnScalingPolicy(
        scope,
        id_,
        policy_name=policy,
        policy_type="TargetTrackingScaling",
        scaling_target_id=target.ref,
        target_tracking_scaling_policy_configuration=scaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
            target_value=aim,
            predefined_metric_specification=scaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty(
                predefined_metric_type=metric
            ),
            scale_out_cooldown=SCALE_OUT_COOLDOWN_S,
            scale_in_cooldown=SCALE_IN_COOLDOWN_S,
        ),
    )
