"""The endpoint that serves an endpoint's jobs: requests wait in SageMaker's queue, and instances come when some do.

It rests at no instances. The backlog per instance, by which it grows and shrinks, has no value while there are none, so
that another policy takes the first step (SageMaker developer guide, "Autoscale an asynchronous endpoint").
"""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from headrace.catalog import ASYNC_SUFFIX
from headrace.declaration.schema import EndpointDeclaration
from headrace.jobs.asynchronous import FAILED_PREFIX, OUTPUT_PREFIX
from infra_cdk.capacity import AsyncFleet
from infra_cdk.hosting import Hosting, guarded, make_endpoint, production_variant
from infra_cdk.observability import FAST_BURN, PERIOD, alarm, rate

ROUNDS_WAITING = 2
"""Requests waiting per place at work before another instance is wanted: two rounds of work."""
BACKLOG_ROUNDS_MAX = 10
"""So many rounds of the largest fleet waiting means that it does not keep up."""
SCALE_OUT_COOLDOWN_S = 120
SCALE_IN_COOLDOWN_S = 600
FIRST_STEP_COOLDOWN_S = 300
FIRST_STEP_MINUTES = 2
STUCK_MINUTES = 15
"""An instance starts within minutes; after this long there is none to be had."""
_MS_PER_S = 1000
_WINDOW = Duration.minutes(5)


class AsyncEndpoint(Construct):
    """Configuration, endpoint, scaling and alarms of what serves the jobs of one declaration."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        declaration: EndpointDeclaration,
        fleet: AsyncFleet,
        model: sagemaker.CfnModel,
        hosting: Hosting,
        variants_change: bool = False,
    ) -> None:
        super().__init__(scope, id_)
        self.endpoint_name = f"{hosting.prefix}-{declaration.name}{ASYNC_SUFFIX}"
        jobs, key = hosting.flows.jobs_name, hosting.artifacts.key_arn
        config = sagemaker.CfnEndpointConfig(
            self,
            "Config",
            production_variants=[
                # None cannot be created: the scaling takes the first one away.
                production_variant(fleet.variant, model, instance_types=fleet.instance_types, instances=1, weight=1)
            ],
            async_inference_config=sagemaker.CfnEndpointConfig.AsyncInferenceConfigProperty(
                client_config=sagemaker.CfnEndpointConfig.AsyncInferenceClientConfigProperty(
                    max_concurrent_invocations_per_instance=fleet.concurrency
                ),
                output_config=sagemaker.CfnEndpointConfig.AsyncInferenceOutputConfigProperty(
                    s3_output_path=f"s3://{jobs}/{OUTPUT_PREFIX.rstrip('/')}",
                    s3_failure_path=f"s3://{jobs}/{FAILED_PREFIX.rstrip('/')}",
                    kms_key_id=key,
                ),
            ),
            kms_key_id=key if fleet.volume_key_allowed else None,
        )
        failures = self._failures(declaration)
        deployment = None if variants_change else guarded("ALL_AT_ONCE", [failures])
        self._endpoint = make_endpoint(self, self.endpoint_name, config, deployment)
        self._scale(fleet)
        self._watch(fleet)

    def _metric(self, name: str, *, statistic: str, period: Duration = PERIOD) -> cloudwatch.Metric:
        """A metric that SageMaker publishes of an asynchronous endpoint; of those of the others it publishes few."""
        return cloudwatch.Metric(
            namespace="AWS/SageMaker",
            metric_name=name,
            dimensions_map={"EndpointName": self.endpoint_name},
            statistic=statistic,
            period=period,
        )

    def _failures(self, declaration: EndpointDeclaration) -> cloudwatch.Alarm:
        failed = rate(
            self._metric("InvocationFailures", statistic="Sum"),
            self._metric("InvocationsProcessed", statistic="Sum"),
            label=f"{declaration.name} async failures",
        )
        return alarm(
            self,
            "Failures",
            failed,
            above=round(min(1.0, FAST_BURN * (1 - declaration.slo.availability)), 6),
            says=f"{self.endpoint_name}: failures burn the budget of {declaration.slo.availability:.3%} availability",
            name=f"{self.endpoint_name}-failures",
        )

    def _scale(self, fleet: AsyncFleet) -> None:
        target = scaling.CfnScalableTarget(
            self,
            "Scaling",
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=f"endpoint/{self.endpoint_name}/variant/{fleet.variant}",
            min_capacity=0,
            max_capacity=fleet.max_instances,
        )
        target.node.add_dependency(self._endpoint)
        scaling.CfnScalingPolicy(
            self,
            "ScalingPolicy",
            policy_name=f"{self.endpoint_name}-backlog",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=scaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
                target_value=fleet.concurrency * ROUNDS_WAITING,
                customized_metric_specification=scaling.CfnScalingPolicy.CustomizedMetricSpecificationProperty(
                    namespace="AWS/SageMaker",
                    metric_name="ApproximateBacklogSizePerInstance",
                    dimensions=[
                        scaling.CfnScalingPolicy.MetricDimensionProperty(name="EndpointName", value=self.endpoint_name)
                    ],
                    statistic="Average",
                ),
                scale_out_cooldown=SCALE_OUT_COOLDOWN_S,
                scale_in_cooldown=SCALE_IN_COOLDOWN_S,
            ),
        )
        first = scaling.CfnScalingPolicy(
            self,
            "FirstInstance",
            policy_name=f"{self.endpoint_name}-first",
            policy_type="StepScaling",
            scaling_target_id=target.ref,
            step_scaling_policy_configuration=scaling.CfnScalingPolicy.StepScalingPolicyConfigurationProperty(
                adjustment_type="ChangeInCapacity",
                cooldown=FIRST_STEP_COOLDOWN_S,
                metric_aggregation_type="Average",
                step_adjustments=[
                    scaling.CfnScalingPolicy.StepAdjustmentProperty(metric_interval_lower_bound=0, scaling_adjustment=1)
                ],
            ),
        )
        cloudwatch.CfnAlarm(
            self,
            "Waiting",
            alarm_name=f"{self.endpoint_name}-waiting",
            alarm_description=f"{self.endpoint_name}: requests wait and no instance is there: starts the first one",
            namespace="AWS/SageMaker",
            metric_name="HasBacklogWithoutCapacity",
            dimensions=[cloudwatch.CfnAlarm.DimensionProperty(name="EndpointName", value=self.endpoint_name)],
            statistic="Average",
            period=round(PERIOD.to_seconds()),
            threshold=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            evaluation_periods=FIRST_STEP_MINUTES,
            datapoints_to_alarm=FIRST_STEP_MINUTES,
            treat_missing_data="missing",
            alarm_actions=[first.ref],
        )

    def _watch(self, fleet: AsyncFleet) -> None:
        """Work that is not taken, in the four ways in which it shows."""
        stuck = self._metric("HasBacklogWithoutCapacity", statistic="Minimum", period=Duration.minutes(STUCK_MINUTES))
        backlog = BACKLOG_ROUNDS_MAX * fleet.max_instances * fleet.concurrency
        watched: tuple[tuple[str, cloudwatch.IMetric, float, int, str], ...] = (
            (
                "Backlog",
                self._metric("ApproximateBacklogSize", statistic="Minimum", period=_WINDOW),
                backlog,
                3,
                "the largest fleet does not keep up",
            ),
            ("Expired", self._metric("ExpiredRequests", statistic="Sum", period=_WINDOW), 0, 1, "requests expire"),
            ("Stuck", stuck, 0.5, 1, f"no instance has come in {STUCK_MINUTES} minutes"),
            (
                "Waits",
                self._metric("TimeInBacklog", statistic="Maximum", period=_WINDOW),
                fleet.queue_s * _MS_PER_S / 2,
                1,
                "requests have waited for half the time that they may",
            ),
        )
        for name, metric, above, times, says in watched:
            alarm(self, name, metric, above=above, minutes=times, says=f"{self.endpoint_name}: {says}")
