"""The functions of batches and what each may do: start, plan, score, finish; and what `predict` needs to serve them."""

from __future__ import annotations

from aws_cdk import Stack
from constructs import Construct

from infra_cdk.functions import READ_AND_WRITE, READ_KEYS, TENANT_OBJECTS, USE_STATE, Function, Functions, Shared
from infra_cdk.identity import Identity
from infra_cdk.layers import CATALOG_PATH
from infra_cdk.nag import acknowledge, where
from infra_cdk.notices import Notices
from infra_cdk.state import State
from infra_cdk.storage import Storage
from infra_cdk.targets import Targets

UPLOADED = "tenants/*/incoming/*"
"""Where an object becomes a batch by being there."""
UPLOADS = "tenants/*/files/*"
"""Where `POST /v1/files` has callers put theirs: exactly one key per signature."""
OUTPUTS = ("tenants/*/batches/*/results.jsonl", "tenants/*/batches/*/errors.jsonl")
"""What of a batch is a file that its tenant may delete."""
TRANSFORM_JOBS = "batch-*"
"""What the plan calls transform jobs (`headrace.batches.planning.transform`), behind the stage's prefix."""
READ_VERSIONS = ["s3:GetObject", "s3:GetObjectVersion"]
"""A batch reads its file at the version that it began with."""
WRITE_PARTS = [*READ_AND_WRITE, "s3:AbortMultipartUpload"]
"""What is large is written in parts; an upload that fails is taken back."""
KEEP_RECORDS = ["dynamodb:GetItem", "dynamodb:PutItem"]
"""A record is read by its name, and written if it has not changed meanwhile."""


class BatchFunctions(Construct):
    """`batch_start`, `batch_plan`, `batch_score` and `batch_finish`."""

    def __init__(
        self,
        scope: Construct,
        id_: str,
        *,
        shared: Shared,
        identity: Identity,
        storage: Storage,
        state: State,
        functions: Functions,
        notices: Notices,
        machine_arn: str,
        targets: Targets,
    ) -> None:
        super().__init__(scope, id_)
        self._shared, self._storage, self._state, self._identity = shared, storage, state, identity
        self._notices, self._machine_arn = notices, machine_arn
        self._targets = targets
        self.start = self._make_start()
        self.plan = self._make_plan()
        self.score = self._make_score(functions.fallback)
        self.finish = self._make_finish()
        self._serve_routes(functions.predict)

    @property
    def each(self) -> dict[str, Function]:
        """The functions by name."""
        return {
            "batch_start": self.start,
            "batch_plan": self.plan,
            "batch_score": self.score,
            "batch_finish": self.finish,
        }

    def _function(self, name: str, *, parquet: bool = False, also: dict[str, str] | None = None) -> Function:
        """A function that knows the catalog and both buckets, and keeps records in the state table."""
        storage, layers = self._storage, self._shared.layers
        made = Function(
            self,
            "".join(map(str.title, name.split("_"))),
            name=name,
            shared=self._shared,
            layers=[layers.vendor, layers.core, layers.catalog, *([layers.parquet] if parquet else [])],
            environment={
                "HEADRACE_CATALOG": CATALOG_PATH,
                "HEADRACE_INPUTS_BUCKET": storage.inputs.bucket_name,
                "HEADRACE_BATCHES_BUCKET": storage.batches.bucket_name,
                "HEADRACE_STATE_TABLE": self._state.table.table_name,
                **(also or {}),
            },
        )
        made.allow(KEEP_RECORDS, [self._state.table.table_arn])
        return made

    def _write_batches(self, function: Function) -> None:
        """Let it read, write and list what belongs to batches.

        Listing also makes S3 say that an object is not there, and not that it is forbidden: a part that is missing
        must never be mistaken for a right that is.
        """
        batches = self._storage.batches
        function.allow_objects(batches, TENANT_OBJECTS, actions=WRITE_PARTS, key=self._storage.key)
        function.allow(["s3:ListBucket"], [batches.bucket_arn])

    def _make_start(self) -> Function:
        start = self._function(
            "batch_start",
            also={
                "HEADRACE_KEYS_TABLE": self._identity.keys.table_name,
                "HEADRACE_STATE_MACHINE": self._machine_arn,
            },
        )
        # Of the file it reads nothing but its size and the caller's words about it, which one right covers.
        start.allow_objects(self._storage.inputs, UPLOADED, actions=READ_VERSIONS, key=self._storage.key)
        start.allow(READ_KEYS, [self._identity.keys.table_arn])
        start.allow(["states:StartExecution"], [self._machine_arn])
        return start

    def _make_plan(self) -> Function:
        plan = self._function("batch_plan", parquet=True, also={"HEADRACE_PREFIX": self._shared.stage.prefix})
        plan.allow_objects(self._storage.inputs, TENANT_OBJECTS, actions=READ_VERSIONS, key=self._storage.key)
        self._write_batches(plan)
        # Where the routing document cannot be read, its history has the last good one.
        plan.allow(["dynamodb:Query"], [self._state.table.table_arn])
        # A transform job runs an endpoint's model on instances of its own: which model is read where it is said. The
        # names of configurations are CloudFormation's, made anew with every change.
        configs = Stack.of(self).format_arn(service="sagemaker", resource="endpoint-config", resource_name="*")
        plan.allow(["sagemaker:DescribeEndpoint"], list(self._targets.endpoints))
        plan.allow(["sagemaker:DescribeEndpointConfig"], [configs])
        if self._targets.components:
            plan.allow(["sagemaker:DescribeInferenceComponent"], list(self._targets.components))
        acknowledge(
            plan.role,
            f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:sagemaker:{where(Stack.of(self))}:endpoint-config/*]",
            "only describing them, and their names are not known before they are made",
        )
        return plan

    def _make_score(self, fallback: Function) -> Function:
        score = self._function(
            "batch_score",
            also={
                "HEADRACE_PREFIX": self._shared.stage.prefix,
                "HEADRACE_FALLBACK_FUNCTION": fallback.live.function_arn,
            },
        )
        score.allow_objects(self._storage.inputs, TENANT_OBJECTS, actions=READ_VERSIONS, key=self._storage.key)
        self._write_batches(score)
        # The same policy as in front of `predict`: limits, circuits and health are shared with online traffic.
        score.allow(USE_STATE, [self._state.table.table_arn])
        score.allow(["sagemaker:InvokeEndpoint"], self._targets.invocable)
        score.allow(["lambda:InvokeFunction"], [fallback.live.function_arn])
        return score

    def _make_finish(self) -> Function:
        finish = self._function("batch_finish")
        self._write_batches(finish)
        finish.allow(["dynamodb:Query"], [self._state.table.table_arn])
        self._notices.sent_by(finish)
        return finish

    def _serve_routes(self, predict: Function) -> None:
        """Let `predict` take files, start batches and show what became of them.

        Who holds a signature of `predict` may put one object where it says so, and no other. What is deleted there
        keeps its versions, for a batch may be reading one.
        """
        storage, key = self._storage, self._storage.key
        for name, value in (
            ("HEADRACE_BATCHES_BUCKET", storage.batches.bucket_name),
            ("HEADRACE_STATE_MACHINE", self._machine_arn),
            ("HEADRACE_INPUTS_KEY", key.key_arn),  # what a signed upload must say that it is encrypted under
        ):
            predict.function.add_environment(name, value)
        predict.allow_objects(storage.inputs, TENANT_OBJECTS, actions=READ_VERSIONS, key=key)
        predict.allow_objects(storage.inputs, UPLOADS, actions=["s3:PutObject", "s3:DeleteObject"], key=key)
        predict.allow_objects(storage.batches, TENANT_OBJECTS, actions=["s3:GetObject"], key=key)
        for answers in OUTPUTS:
            predict.allow_objects(storage.batches, answers, actions=["s3:DeleteObject"], key=key)
        predict.allow(["states:StartExecution"], [self._machine_arn])
        stack, jobs = Stack.of(self), f"{self._shared.stage.prefix}-{TRANSFORM_JOBS}"
        job = stack.format_arn(service="sagemaker", resource="transform-job", resource_name=jobs)
        predict.allow(["sagemaker:StopTransformJob"], [job])
        acknowledge(
            predict.role,
            f"AwsSolutions-IAM5[Resource::arn:<AWS::Partition>:sagemaker:{where(stack)}:transform-job/{jobs}]",
            "jobs are named after their batches at run time, and a cancelled one is only ended",
        )
