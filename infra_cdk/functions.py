"""The functions and what each may do: one role per function, and no statement wider than its one use.

Every function is reached through its alias `live`, so that SnapStart, provisioned concurrency and rollbacks have a
published version to hold on to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aws_cdk import Duration, RemovalPolicy, Size, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra_cdk.function_code import zip_excludes
from infra_cdk.identity import Identity
from infra_cdk.layers import ARCHITECTURE, CATALOG_PATH, RUNTIME, Bundling, CopiedBundle, Layers, bundled
from infra_cdk.nag import acknowledge
from infra_cdk.observability import METRICS_NAMESPACE
from infra_cdk.stages import StageSettings
from infra_cdk.state import OPERATIONS, State
from infra_cdk.storage import Storage
from infra_cdk.targets import Targets

RULES_FOLDER = "/var/task/endpoints"
"""Lambda unpacks the zip into /var/task; the endpoints' rules keep their paths in it."""
READ_KEYS = ["dynamodb:GetItem", "dynamodb:BatchGetItem"]
"""Keys, grants and revocations, by their names: nobody who only checks a caller can list or change them."""
USE_STATE = [f"dynamodb:{action}" for action in OPERATIONS]
"""Items of the state table, and nothing of the table itself."""
TENANT_OBJECTS = "tenants/*"
"""Where callers' uploads lie; which tenant's is decided in the function from the authorizer's word."""
READ_AND_WRITE = ["s3:GetObject", "s3:PutObject"]
"""Nobody who has these may delete an object or list them."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What every function of a stage is built from."""

    stage: StageSettings
    root: Path
    layers: Layers
    bundling: Bundling


class Function(Construct):
    """One function: code from `functions/<name>`, its own role, its own log group, and the alias `live`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        name: str,
        shared: Shared,
        layers: list[lambda_.LayerVersion],
        environment: dict[str, str],
    ) -> None:
        super().__init__(scope, id_)
        stage, scale = shared.stage, shared.stage.functions[name]
        function_name = f"{stage.prefix}-{name}"
        log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/lambda/{function_name}",
            retention=_retention(stage.log_retention_days),
            removal_policy=RemovalPolicy.RETAIN if stage.keep_data else RemovalPolicy.DESTROY,
        )
        self.role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.allow(["logs:CreateLogStream", "logs:PutLogEvents"], [log_group.log_group_arn])
        excludes = zip_excludes(name, root=shared.root)
        copied = CopiedBundle(shared.root, exclude=excludes, bundling=shared.bundling)
        self.function = lambda_.Function(
            self,
            "Function",
            function_name=function_name,
            runtime=RUNTIME,
            architecture=ARCHITECTURE,
            handler=f"functions.{name}.handler.handler",
            code=bundled(shared.root, exclude=excludes, local=copied, bundling=shared.bundling),
            layers=layers,
            role=self.role,
            log_group=log_group,
            tracing=lambda_.Tracing.ACTIVE,
            memory_size=scale.memory_mb,
            timeout=Duration.seconds(scale.timeout_s),
            ephemeral_storage_size=Size.mebibytes(scale.scratch_mb),
            reserved_concurrent_executions=scale.reserved_concurrency,
            snap_start=lambda_.SnapStartConf.ON_PUBLISHED_VERSIONS if scale.snap_start else None,
            environment={
                "HEADRACE_STAGE": stage.name,
                "POWERTOOLS_SERVICE_NAME": name,
                "POWERTOOLS_METRICS_NAMESPACE": METRICS_NAMESPACE,
                "POWERTOOLS_LOG_LEVEL": "INFO",
                "PYDANTIC_DISABLE_PLUGINS": "__all__",  # no scan of every distribution at cold start
                **environment,
            },
        )
        self.live = lambda_.Alias(
            self,
            "Live",
            alias_name="live",
            version=self.function.current_version,
            provisioned_concurrent_executions=scale.provisioned_concurrency or None,
        )
        acknowledge(
            self.function,
            "AwsSolutions-L1",
            "Python 3.13 starts quickest on arm64 (77 ms against 94 ms for 3.14, lambda-perf of August 2026)",
        )
        acknowledge(
            self.role,
            "AwsSolutions-IAM5[Resource::*]",
            "X-Ray's PutTraceSegments and PutTelemetryRecords take no resource (service authorization reference)",
        )

    def allow(self, actions: list[str], resources: list[str]) -> None:
        """Let this function, and no other, do `actions` on exactly `resources`."""
        self.role.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources))

    def allow_objects(self, bucket: s3.Bucket, pattern: str, *, actions: list[str], key: kms.Key) -> None:
        """Let it do `actions` with the objects of `bucket` that match `pattern`; they are encrypted under `key`."""
        self.allow(actions, [bucket.arn_for_objects(pattern)])
        self.allow(["kms:Decrypt"], [key.key_arn])
        if "s3:PutObject" in actions:
            self.allow(["kms:GenerateDataKey"], [key.key_arn])
        acknowledge(
            self.role,
            f"AwsSolutions-IAM5[Resource::<{logical_id(bucket)}.Arn>/{pattern}]",
            "objects are named at run time; the bucket and the part of it are fixed, and so is what is done to them",
        )


class Functions(Construct):
    """`authorizer`, `predict` and `fallback`, wired to each other and to what they read."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        shared: Shared,
        identity: Identity,
        storage: Storage,
        state: State,
        targets: Targets,
    ) -> None:
        super().__init__(scope, id_)
        layers, prefix = shared.layers, shared.stage.prefix

        self.authorizer = Function(
            self,
            "Authorizer",
            name="authorizer",
            shared=shared,
            layers=[layers.vendor, layers.core],
            environment={
                "HEADRACE_KEYS_TABLE": identity.keys.table_name,
                "HEADRACE_PEPPER_SECRET": identity.pepper.secret_arn,
                "HEADRACE_OIDC_ISSUERS": shared.stage.oidc_issuers,
            },
        )
        self.authorizer.allow(READ_KEYS, [identity.keys.table_arn])
        self.authorizer.allow(["secretsmanager:GetSecretValue"], [identity.pepper.secret_arn])
        self.authorizer.allow(["kms:Decrypt"], [storage.key.key_arn])

        self.fallback = Function(
            self,
            "Fallback",
            name="fallback",
            shared=shared,
            layers=[layers.vendor, layers.onnx, layers.core, layers.catalog],
            environment={
                "HEADRACE_CATALOG": CATALOG_PATH,
                "HEADRACE_ARTIFACTS_BUCKET": storage.artifacts.bucket_name,
                "HEADRACE_RULES": RULES_FOLDER,
            },
        )
        self.fallback.allow_objects(storage.artifacts, "*", actions=["s3:GetObject"], key=storage.key)

        self.predict = Function(
            self,
            "Predict",
            name="predict",
            shared=shared,
            layers=[layers.vendor, layers.core, layers.catalog],
            environment={
                "HEADRACE_PREFIX": prefix,
                "HEADRACE_CATALOG": CATALOG_PATH,
                "HEADRACE_INPUTS_BUCKET": storage.inputs.bucket_name,
                "HEADRACE_FALLBACK_FUNCTION": self.fallback.live.function_arn,
                "HEADRACE_STATE_TABLE": state.table.table_name,
                "HEADRACE_KEYS_TABLE": identity.keys.table_name,
                "HEADRACE_PEPPER_SECRET": identity.pepper.secret_arn,
            },
        )
        self.predict.allow(["sagemaker:InvokeEndpoint"], targets.invocable)
        self.predict.allow(["lambda:InvokeFunction"], [self.fallback.live.function_arn])
        # Of the keys table it reads whom signed callers stand for; from the pepper it derives what keys cached answers.
        self.predict.allow(READ_KEYS, [identity.keys.table_arn])
        self.predict.allow(["secretsmanager:GetSecretValue"], [identity.pepper.secret_arn])
        self.predict.allow(USE_STATE, [state.table.table_arn])
        self.predict.allow(["kms:Decrypt", "kms:GenerateDataKey"], [storage.key.key_arn])
        self.predict.allow_objects(storage.inputs, TENANT_OBJECTS, actions=["s3:GetObject"], key=storage.key)

    @property
    def each(self) -> dict[str, Function]:
        """The functions by name."""
        return {"authorizer": self.authorizer, "predict": self.predict, "fallback": self.fallback}


def logical_id(resource: Construct) -> str:
    """The name that the template gives to `resource`."""
    logical: str = Stack.of(resource).get_logical_id(resource.node.default_child)
    return logical


def _retention(days: int) -> logs.RetentionDays:
    """CDK's name for `days`, which must be one of the periods that CloudWatch Logs offers."""
    return {30: logs.RetentionDays.ONE_MONTH, 90: logs.RetentionDays.THREE_MONTHS}[days]
