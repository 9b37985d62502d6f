"""The stack of the models: one SageMaker endpoint per declaration, and what they cost while nobody calls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aws_cdk import ArnFormat, CfnOutput, Environment, IgnoreMode, Stack
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from constructs import Construct

from headrace.catalog import ASYNC_SUFFIX
from headrace.declaration.schema import EndpointDeclaration
from headrace.jobs.asynchronous import FAILED_PREFIX, INPUT_PREFIX, OUTPUT_PREFIX
from infra_cdk.async_endpoint import AsyncEndpoint
from infra_cdk.capacity import (
    AsyncFleet,
    Fleet,
    SharedFleet,
    async_cost_line,
    cost_line,
    plan_async,
    plan_fleet,
    plan_shared,
    shared_cost_line,
)
from infra_cdk.component_endpoint import ComponentEndpoint
from infra_cdk.endpoint import Endpoint
from infra_cdk.hosting import ArtifactStore, FlowStores, Hosting
from infra_cdk.nag import acknowledge, where
from infra_cdk.stages import StageSettings

IMAGE_EXCLUDE = ("*", "!endpoints/Dockerfile", "!endpoints/serving", "**/__pycache__")
"""The image is built from the serving program alone: models come as artifacts."""
TRANSFORM_REQUESTS = "tenants/*/batches/*/transform/input/*"
TRANSFORM_ANSWERS = "tenants/*/batches/*/transform/output/*"
"""Below `headrace.batches.layout.transform_prefix` of any batch."""


class EndpointsStack(Stack):
    """`headrace-<stage>-endpoints`.

    `image_uri` is a serving image already in ECR; without it CDK builds one at deployment, never at synth.
    `variants_change` names the endpoints whose set of variants is another than what runs now.

    Raises:
        ValueError: a declaration cannot be deployed, or `variants_change` names none of them.
    """

    def __init__(
        self,
        scope: Construct,
        *,
        stage: StageSettings,
        root: Path,
        declarations: list[EndpointDeclaration],
        artifacts: ArtifactStore,
        flows: FlowStores,
        image_uri: str | None,
        env: Environment | None,
        variants_change: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(
            scope, f"{stage.prefix}-endpoints", env=env, description=f"Headrace {stage.name}: model endpoints"
        )
        self._root = root
        self._image_uri = image_uri
        self._built: dict[tuple[str, str], str] = {}
        self._role = iam.Role(self, "ModelRole", assumed_by=iam.ServicePrincipal("sagemaker.amazonaws.com"))
        if strangers := variants_change - {each.name for each in declarations}:
            raise ValueError(f"variants_change names {', '.join(sorted(strangers))}, which is not declared")
        cap = stage.capacity_max_instances
        fleets = [
            plan_shared(each, prefix=stage.prefix, max_instances=cap) or plan_fleet(each, max_instances=cap)
            for each in declarations
        ]
        _check_names(fleets)
        self._allow_hosting(stage, artifacts=artifacts)
        of_jobs = [plan_async(each, max_instances=stage.capacity_max_instances) for each in declarations]
        if any(fleet.volume_key_allowed for fleet in (*fleets, *of_jobs) if fleet is not None):
            self._allow_volumes(artifacts)
        self._allow_transform(stage, artifacts=artifacts, flows=flows)
        if any(of_jobs):
            self._allow_jobs(stage, artifacts=artifacts, flows=flows)
        hosting = Hosting(prefix=stage.prefix, role=self._role, artifacts=artifacts, flows=flows)
        self.costs: list[str] = []
        for declaration, fleet, for_jobs in zip(declarations, fleets, of_jobs, strict=True):
            change = declaration.name in variants_change
            self._host(declaration, fleet, for_jobs, hosting=hosting, variants_change=change)
        CfnOutput(self, "AlwaysOn", value=" | ".join(self.costs), description="What runs whether or not anyone calls")

    def _host(
        self,
        declaration: EndpointDeclaration,
        fleet: Fleet | SharedFleet,
        for_jobs: AsyncFleet | None,
        *,
        hosting: Hosting,
        variants_change: bool,
    ) -> None:
        given: Any = {
            "declaration": declaration,
            "image_uri": self._image(declaration, fleet=fleet),
            "hosting": hosting,
            "variants_change": variants_change,
        }
        if isinstance(fleet, SharedFleet):
            models = ComponentEndpoint(self, declaration.name, fleet=fleet, **given).models
            self.costs.append(shared_cost_line(declaration.name, fleet))
        else:
            models = Endpoint(self, declaration.name, fleet=fleet, **given).models
            self.costs.append(cost_line(declaration.name, fleet))
        if for_jobs is None:
            return
        jobs_endpoint = AsyncEndpoint(
            self,
            f"{declaration.name}{ASYNC_SUFFIX}",
            declaration=declaration,
            fleet=for_jobs,
            model=models[for_jobs.variant],
            hosting=hosting,
            variants_change=variants_change,
        )
        self.costs.append(async_cost_line(jobs_endpoint.node.id, for_jobs))

    def _allow_hosting(self, stage: StageSettings, *, artifacts: ArtifactStore) -> None:
        """What SageMaker does in the models' name: fetch artifacts, write logs and metrics, read the alarms."""
        log_groups = f"/aws/sagemaker/Endpoints/{stage.prefix}-*"
        streams = self.format_arn(
            service="logs",
            resource="log-group",
            resource_name=log_groups,
            arn_format=ArnFormat.COLON_RESOURCE_NAME,
        )
        statements = (
            (["s3:GetObject"], [f"{artifacts.bucket_arn}/*"]),
            (["kms:Decrypt"], [artifacts.key_arn]),
            (
                ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"],
                [streams],
            ),
            (["cloudwatch:DescribeAlarms"], ["*"]),
        )
        for actions, resources in statements:
            self._role.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources))
        self._role.add_to_policy(
            iam.PolicyStatement(
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],
                conditions={"StringLike": {"cloudwatch:namespace": ["AWS/SageMaker", "/aws/sagemaker/*"]}},
            )
        )
        acknowledge(
            self._role,
            f"AwsSolutions-IAM5[Resource::{stage.prefix}-artifacts-arn/*]",
            "read only, and all versions: a fleet of the last version must still scale out while the next is deployed",
        )
        acknowledge(
            self._role,
            f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:logs:{where(self)}:log-group:{log_groups}]",
            "SageMaker names one log group per endpoint; the prefix is this stage's own",
        )
        acknowledge(
            self._role,
            "AwsSolutions-IAM5[Resource::*]",
            "DescribeAlarms, PutMetricData and ecr:GetAuthorizationToken take no resource; metrics keep to a namespace",
        )

    def _allow_objects(self, arn: str, *, export: str, patterns: dict[str, list[str]]) -> None:
        """Let models do what `patterns` says with objects of another stack's bucket, whose ARN is exported."""
        for pattern, actions in patterns.items():
            self._role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[f"{arn}/{pattern}"]))
            acknowledge(
                self._role,
                f"AwsSolutions-IAM5[Resource::{export}/{pattern}]",
                "SageMaker reads requests and writes answers whose names are made at run time, in this part alone",
            )

    def _allow_transform(self, stage: StageSettings, *, artifacts: ArtifactStore, flows: FlowStores) -> None:
        """What a transform job does in its model's name: lists and reads its requests, writes its answers."""
        patterns = {
            TRANSFORM_REQUESTS: ["s3:GetObject"],
            TRANSFORM_ANSWERS: ["s3:PutObject", "s3:AbortMultipartUpload"],
        }
        self._allow_objects(flows.batches_arn, export=f"{stage.prefix}-batches-arn", patterns=patterns)
        self._role.add_to_policy(
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[flows.batches_arn],
                conditions={"StringLike": {"s3:prefix": [TRANSFORM_REQUESTS]}},
            )
        )
        self._role.add_to_policy(
            iam.PolicyStatement(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[artifacts.key_arn])
        )

    def _allow_jobs(self, stage: StageSettings, *, artifacts: ArtifactStore, flows: FlowStores) -> None:
        """What an asynchronous endpoint does: reads large inputs, writes answers and failures."""
        written = ["s3:PutObject", "s3:AbortMultipartUpload"]
        patterns = {f"{INPUT_PREFIX}*": ["s3:GetObject"], f"{OUTPUT_PREFIX}*": written, f"{FAILED_PREFIX}*": written}
        self._allow_objects(flows.jobs_arn, export=f"{stage.prefix}-jobs-arn", patterns=patterns)
        self._role.add_to_policy(
            iam.PolicyStatement(actions=["kms:Decrypt", "kms:GenerateDataKey"], resources=[artifacts.key_arn])
        )

    def _allow_volumes(self, artifacts: ArtifactStore) -> None:
        """What attaching volumes under our key takes (SageMaker API, CreateEndpointConfig, `KmsKeyId`).

        The data keys' two actions are named, not `GenerateDataKey*`. The grant goes to AWS services alone.
        """
        actions = ["kms:DescribeKey", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"]
        self._role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[artifacts.key_arn]))
        self._role.add_to_policy(
            iam.PolicyStatement(
                actions=["kms:CreateGrant"],
                resources=[artifacts.key_arn],
                conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
            )
        )

    def _image(self, declaration: EndpointDeclaration, *, fleet: Fleet | SharedFleet) -> str:
        """The image for this hardware: the one given, or one built from `endpoints/Dockerfile` per kind."""
        if self._image_uri is not None:
            return self._image_uri
        kind = (declaration.hardware.accelerator, fleet.platform)
        if kind not in self._built:
            asset = ecr_assets.DockerImageAsset(
                self,
                f"Image-{'-'.join(kind).replace('/', '-')}",
                directory=str(self._root),
                file="endpoints/Dockerfile",
                target="serving",
                exclude=list(IMAGE_EXCLUDE),
                ignore_mode=IgnoreMode.DOCKER,
                build_args={"ACCELERATOR": declaration.hardware.accelerator},
                platform=ecr_assets.Platform.custom(fleet.platform),
            )
            asset.repository.grant_pull(self._role)
            self._built[kind] = asset.image_uri
        return self._built[kind]


def _check_names(fleets: Sequence[Fleet | SharedFleet]) -> None:
    """Components are named in the account, not within their endpoint: a hyphen may stand in either part of the name."""
    names = [each.name for fleet in fleets if isinstance(fleet, SharedFleet) for each in fleet.components]
    for name in sorted(names):
        if names.count(name) > 1:
            raise ValueError(f"two versions would be the inference component {name}: rename one, or its endpoint")
