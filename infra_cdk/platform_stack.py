"""The stack of everything but the models: key, buckets, identity, layers, functions, gateway, firewall, alarms."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import CfnOutput, Environment, Stack
from constructs import Construct

from headrace.catalog import ASYNC_SUFFIX, dump
from headrace.declaration.compile import compile_catalog
from headrace.declaration.schema import EndpointDeclaration
from headrace.gateway import IAM_PREFIX
from headrace.plans import Plan
from infra_cdk.batch_functions import BatchFunctions
from infra_cdk.batch_watch import batch_alarms, batch_dashboard
from infra_cdk.batches import FLOW as BATCH_FLOW
from infra_cdk.batches import Batches
from infra_cdk.firewall import Firewall
from infra_cdk.functions import Function, Functions, Shared
from infra_cdk.gateway import Gateway
from infra_cdk.hosting import ArtifactStore, FlowStores
from infra_cdk.identity import Identity
from infra_cdk.jobs import Jobs
from infra_cdk.layers import Bundling, Layers
from infra_cdk.machines import machine_arn
from infra_cdk.notices import Notices
from infra_cdk.platform_alarms import platform_alarms
from infra_cdk.registry import Operators, Registry
from infra_cdk.rollouts import Rollouts
from infra_cdk.shadows import Shadows
from infra_cdk.stages import StageSettings
from infra_cdk.state import State
from infra_cdk.storage import Storage
from infra_cdk.targets import Targets, targets_of


class PlatformStack(Stack):
    """`headrace-<stage>-platform`."""

    def __init__(
        self,
        scope: Construct,
        *,
        stage: StageSettings,
        root: Path,
        declarations: list[EndpointDeclaration],
        plans: dict[str, Plan],
        bundling: Bundling,
        env: Environment | None,
    ) -> None:
        super().__init__(
            scope, f"{stage.prefix}-platform", env=env, description=f"Headrace {stage.name}: gateway and functions"
        )
        storage = Storage(self, "Storage", stage=stage)
        self.artifact_store, self.flow_stores = self._exports(stage, storage=storage)
        identity = Identity(self, "Identity", stage=stage, key=storage.key)
        state = State(self, "State", stage=stage, key=storage.key)
        state.watch()
        catalog = dump(compile_catalog(declarations, plans))
        layers = Layers(self, "Layers", root=root, catalog=catalog, bundling=bundling)
        shared = Shared(stage=stage, root=root, layers=layers, bundling=bundling)
        targets = targets_of(declarations, prefix=stage.prefix, stack=self)
        self.functions = Functions(
            self,
            "Functions",
            shared=shared,
            identity=identity,
            storage=storage,
            state=state,
            targets=targets,
        )
        self._make_flows(
            shared, identity=identity, storage=storage, state=state, targets=targets, declarations=declarations
        )
        self._make_delivery(shared, storage=storage, state=state, targets=targets, declarations=declarations)
        gateway = Gateway(
            self,
            "Gateway",
            stage=stage,
            authorizer=self.functions.authorizer.live,
            predict=self.functions.predict.live,
        )
        if stage.firewall:
            Firewall(self, "Firewall", stage=stage, api_stage_arn=gateway.api.deployment_stage.stage_arn)
        endpoints = [declaration.name for declaration in declarations]
        platform_alarms(self, stage=stage, api=gateway.api, functions=self.every_function, endpoints=endpoints)
        self._watch_batches(stage)
        self._outputs(gateway, identity=identity, storage=storage, state=state)

    def _make_flows(
        self,
        shared: Shared,
        *,
        identity: Identity,
        storage: Storage,
        state: State,
        targets: Targets,
        declarations: list[EndpointDeclaration],
    ) -> None:
        """What goes on after a request has its answer: jobs, batches, and word of their ends."""
        self.notices = Notices(self, "Notices", shared=shared, storage=storage, state=state, identity=identity)
        self.jobs = Jobs(self, "Jobs", shared=shared, storage=storage, state=state, predict=self.functions.predict)
        self.notices.sent_by(self.jobs.run)
        self.jobs.serve_by(
            [
                self.format_arn(
                    service="sagemaker",
                    resource="endpoint",
                    resource_name=f"{shared.stage.prefix}-{declaration.name}{ASYNC_SUFFIX}",
                )
                for declaration in declarations
                if declaration.async_inference is not None
            ],
            predict=self.functions.predict,
            storage=storage,
        )
        self.batch_functions = BatchFunctions(
            self,
            "BatchFunctions",
            shared=shared,
            identity=identity,
            storage=storage,
            state=state,
            functions=self.functions,
            notices=self.notices,
            machine_arn=machine_arn(self, stage=shared.stage, flow=BATCH_FLOW),
            targets=targets,
        )
        self.batches = Batches(self, "Batches", stage=shared.stage, storage=storage, functions=self.batch_functions)

    def _make_delivery(
        self,
        shared: Shared,
        *,
        storage: Storage,
        state: State,
        targets: Targets,
        declarations: list[EndpointDeclaration],
    ) -> None:
        """How new versions come in: the registry, rollouts, shadows, and who may order them."""
        names = [declaration.name for declaration in declarations]
        self.rollouts = Rollouts(self, "Rollouts", shared=shared, storage=storage, state=state)
        self.shadows = Shadows(
            self,
            "Shadows",
            shared=shared,
            storage=storage,
            state=state,
            predict=self.functions.predict,
            invocable=targets.invocable,
        )
        Registry(self, "Registry", stage=shared.stage, endpoint_names=names)
        self.operators = Operators(
            self,
            "Operators",
            stage=shared.stage,
            state=state,
            storage=storage,
            machine_arn=self.rollouts.machine.state_machine_arn,
            endpoint_names=names,
        )

    def _exports(self, stage: StageSettings, *, storage: Storage) -> tuple[ArtifactStore, FlowStores]:
        """What the other stack may rely on, under names of our own: a decision, not a by-product."""

        def named(value: str, name: str) -> str:
            exported: str = self.export_value(value, name=f"{stage.prefix}-{name}")
            return exported

        return (
            ArtifactStore(
                bucket_name=named(storage.artifacts.bucket_name, "artifacts-name"),
                bucket_arn=named(storage.artifacts.bucket_arn, "artifacts-arn"),
                key_arn=named(storage.key.key_arn, "key-arn"),
            ),
            FlowStores(
                jobs_name=named(storage.jobs.bucket_name, "jobs-name"),
                jobs_arn=named(storage.jobs.bucket_arn, "jobs-arn"),
                batches_arn=named(storage.batches.bucket_arn, "batches-arn"),
            ),
        )

    def _outputs(self, gateway: Gateway, *, identity: Identity, storage: Storage, state: State) -> None:
        for name, value, says in (
            ("Url", gateway.api.url, "Where the API answers"),
            ("ArtifactsBucket", storage.artifacts.bucket_name, "Where model artifacts go, by digest"),
            ("InputsBucket", storage.inputs.bucket_name, "Where callers' uploads go, below tenants/<tenant>/"),
            ("BatchesBucket", storage.batches.bucket_name, "Results, errors and reports of batches"),
            ("StateMachine", self.batches.machine.state_machine_arn, "What works batches off"),
            ("RolloutMachine", self.rollouts.machine.state_machine_arn, "What looks after rollouts"),
            ("RolloutOperator", self.operators.policy.managed_policy_arn, "What who rolls out must be allowed"),
            ("KeysTable", identity.keys.table_name, "API keys, as hashes"),
            ("PepperSecret", identity.pepper.secret_arn, "The pepper of those hashes"),
            (
                "StateTable",
                state.table.table_name,
                "Limits, circuits, cached answers, idempotency records, jobs, batches",
            ),
            ("SignedUrl", f"{gateway.api.url}{IAM_PREFIX.strip('/')}/", "The same API for AWS-signed requests"),
        ):
            CfnOutput(self, name, value=value, description=says)

    @property
    def every_function(self) -> dict[str, Function]:
        """All functions by name."""
        own = {
            "job_run": self.jobs.run,
            "notify": self.notices.notify,
            "rollout_step": self.rollouts.step,
            "shadow": self.shadows.shadow,
        }
        return {**self.functions.each, **own, **self.batch_functions.each}

    def _watch_batches(self, stage: StageSettings) -> None:
        batch_dashboard(
            self.batches,
            prefix=stage.prefix,
            machine=self.batches.machine,
            functions=self.batch_functions.each,
            notices=self.notices.queue,
            alarms=batch_alarms(self.batches, self.batches.machine),
        )
