"""The registry of versions, one model package group per endpoint, and the policy of who registers and rolls out.

Groups are the platform's, so that a version can be registered before the endpoint that will run it is deployed. The
policy is attached to nobody: whose role may roll out is the account's to say.
"""

from __future__ import annotations

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from headrace.registry.versions import GROUP_MAX_CHARS
from infra_cdk.functions import logical_id
from infra_cdk.nag import acknowledge, where
from infra_cdk.rollouts import KEEP_ROLLOUTS
from infra_cdk.stages import StageSettings
from infra_cdk.state import State
from infra_cdk.storage import Storage

_LISTED = "listing takes no resource (service authorization reference, Amazon SageMaker)"
_NAMED_LATER = "named when they are made: versions by number, models and configurations by CloudFormation"


class Registry(Construct):
    """A model package group for every declared endpoint."""

    def __init__(self, scope: Construct, id_: str, *, stage: StageSettings, endpoint_names: list[str]) -> None:
        super().__init__(scope, id_)
        for endpoint in endpoint_names:
            name = f"{stage.prefix}-{endpoint}"
            if len(name) > GROUP_MAX_CHARS:
                raise ValueError(f"{name}: a model package group has at most {GROUP_MAX_CHARS} characters")
            group = sagemaker.CfnModelPackageGroup(
                self,
                f"Group-{endpoint}",
                model_package_group_name=name,
                model_package_group_description=f"Registered versions of {endpoint}",
            )
            # A group that holds versions cannot be deleted: `dev` must be emptied before it can go.
            group.apply_removal_policy(RemovalPolicy.RETAIN if stage.keep_data else RemovalPolicy.DESTROY)


class Operators(Construct):
    """The managed policy `<prefix>-rollout-operator`: what the command line's operator commands call, and no more."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        stage: StageSettings,
        state: State,
        storage: Storage,
        machine_arn: str,
        endpoint_names: list[str],
    ) -> None:
        super().__init__(scope, id_)
        stack, prefix = Stack.of(self), stage.prefix
        self.policy = iam.ManagedPolicy(
            self,
            "Policy",
            managed_policy_name=f"{prefix}-rollout-operator",
            description=f"{prefix}: register and approve versions, change traffic, start and steer rollouts",
        )

        def named(resource: str, *names: str) -> list[str]:
            return [stack.format_arn(service="sagemaker", resource=resource, resource_name=name) for name in names]

        groups = [f"{prefix}-{name}" for name in endpoint_names]
        packages = [f"{name}/*" for name in groups]
        # Rollouts: records, traffic and counts in the state table; the machine; whether a version is in service.
        self._allow(KEEP_ROLLOUTS, [state.table.table_arn])
        self._allow(["states:StartExecution"], [machine_arn])
        self._allow(["sagemaker:DescribeEndpoint"], named("endpoint", *groups))
        self._allow(["sagemaker:DescribeInferenceComponent"], named("inference-component", f"{prefix}-*"))
        # The registry: packages in their groups, artifacts and records by digest, the image that runs now.
        self._allow(["sagemaker:ListModelPackageGroups", "sagemaker:ListModelPackages"], ["*"])
        self._allow(["sagemaker:DescribeModelPackageGroup"], named("model-package-group", *groups))
        self._allow(
            [f"sagemaker:{verb}ModelPackage" for verb in ("Create", "Describe", "Update")],
            [*named("model-package-group", *groups), *named("model-package", *packages)],
        )
        self._allow(["sagemaker:DescribeEndpointConfig"], named("endpoint-config", "*"))
        self._allow(["sagemaker:DescribeModel"], named("model", "*"))
        artifacts = storage.artifacts
        self._allow(["s3:ListBucket"], [artifacts.bucket_arn])
        self._allow(["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"], [artifacts.arn_for_objects("*")])
        self._allow(["kms:Decrypt", "kms:GenerateDataKey"], [storage.key.key_arn])
        # Where all that is, it reads in the outputs of this stack.
        outputs = stack.format_arn(service="cloudformation", resource="stack", resource_name=f"{stack.stack_name}/*")
        self._allow(["cloudformation:DescribeStacks"], [outputs])
        self._answer(artifacts=logical_id(artifacts), prefix=prefix, packages=packages, stack=stack)

    def _allow(self, actions: list[str], resources: list[str]) -> None:
        self.policy.add_statements(iam.PolicyStatement(actions=actions, resources=resources))

    def _answer(self, *, artifacts: str, prefix: str, packages: list[str], stack: Stack) -> None:
        """Why each wildcard stands."""
        acknowledge(self.policy, "AwsSolutions-IAM5[Resource::*]", _LISTED)
        acknowledge(
            self.policy,
            f"AwsSolutions-IAM5[Resource::<{artifacts}.Arn>/*]",
            "artifacts and records are named by digest",
        )
        sagemaker_names = (
            *(f"model-package/{name}" for name in packages),
            *("endpoint-config/*", "model/*", f"inference-component/{prefix}-*"),
        )
        for service, names in (("sagemaker", sagemaker_names), ("cloudformation", (f"stack/{stack.stack_name}/*",))):
            for name in names:
                acknowledge(
                    self.policy,
                    f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:{service}:{where(stack)}:{name}]",
                    _NAMED_LATER,
                )
