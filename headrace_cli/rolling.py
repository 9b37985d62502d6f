"""What the commands of rollouts work with: the endpoint as declared, and the account's stores and state machine.

These commands are an operator's: they talk to the state table itself, with AWS credentials, as there is no API for
them. `headrace_aws` is imported here and not at the top of any module, so that callers' commands do without boto3.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace_cli.operating import Operator, find_operator, told_plainly
from headrace_cli.problems import Problem, UsageProblem, plain
from headrace_cli.world import Session

if TYPE_CHECKING:
    from headrace.catalog import Endpoint
    from headrace.declaration.schema import EndpointDeclaration
    from headrace.rollouts.metrics import Metric
    from headrace.rollouts.operations import Operations
    from headrace.rollouts.states import Rollout
    from headrace.rollouts.store import Rollouts, Tallies
    from headrace.routing.store import RoutingStore

DECLARATIONS = "endpoints"
TRAFFIC_S = 300
"""How far back the present traffic is looked at."""
RATES_FROM = 100
"""Calls from which on their share of bad ones says something."""
STORE_TIMEOUT_S = 5.0
"""A person waits, and may be far from the region."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Where rollouts, routing, counts and health of one stage are, and what looks after rollouts."""

    rollouts: "Rollouts"
    routings: "RoutingStore"
    tallies: "Tallies"
    executions: Any
    health: Any
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests a second, None where none came or nothing is known, and rates of bad events of what serves now."""

    requests_per_s: float | None = None
    rates: "Mapping[Metric, float]" = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Office:
    """One endpoint of one stage, as its operator sees it."""

    operator: Operator
    declaration: "EndpointDeclaration"
    endpoint: "Endpoint"
    stores: Stores

    @property
    def operations(self) -> "Operations":
        """What may be done to its rollouts."""
        from headrace.rollouts.operations import Operations

        stores = self.stores
        return Operations(
            self.endpoint,
            rollouts=stores.rollouts,
            routings=stores.routings,
            tallies=stores.tallies,
            executions=stores.executions,
            wall=stores.wall,
        )

    def traffic(self) -> "Traffic":
        """The endpoint's traffic of the last minutes, and how its versions did."""
        from headrace.errors import HeadraceError

        now = int(self.stores.wall())
        try:
            buckets, _ = self.stores.health.read(self.endpoint.name, since=now - TRAFFIC_S)
        except HeadraceError:
            return Traffic()
        arrived = sum(counts.arrived for second in buckets.values() for counts in second.values())
        if not arrived:
            return Traffic()
        hosted = {f"{self.endpoint.name}/{version.name}" for version in self.endpoint.hosted}
        calls = [counts for second in buckets.values() for target, counts in second.items() if target in hosted]
        good, bad = sum(counts.good for counts in calls), sum(counts.bad for counts in calls)
        done, slow = sum(counts.done for counts in calls), sum(counts.slow for counts in calls)
        rates: dict[Metric, float] = {}
        if good + bad >= RATES_FROM:
            rates["failed"] = max(0, bad) / (good + bad)
        if done >= RATES_FROM:
            rates["late"] = max(0, slow) / done
        return Traffic(arrived / (now - min(buckets) + 1), rates)

    def require_ready(self, version: str) -> None:
        """Ask whether SageMaker has the version in service, and no alarm on it is on. Raises Problem."""
        from headrace.catalog import component_name

        name = f"{self.operator.prefix}-{self.endpoint.name}"
        with told_plainly():
            described = self.operator.client("sagemaker").describe_endpoint(EndpointName=name)
        if described["EndpointStatus"] != "InService":
            raise Problem(f"Endpoint {name} is {plain(described['EndpointStatus'])}: wait until it is InService.")
        if self.endpoint.components:
            there = self._component_in_service(component_name(self.operator.prefix, self.endpoint.name, version))
        else:
            variants = {each["VariantName"]: each for each in described.get("ProductionVariants", ())}
            there = version in variants
            if there and variants[version].get("CurrentInstanceCount", 1) < 1:
                raise Problem(f"Variant {version} of {name} has no instance: it is not ready.")
        if not there:
            raise Problem(f"Endpoint {name} serves no {version} yet: deploy it with weight 0 first.")
        if on := self._alarms_on(f"{name}/{version}/"):
            raise Problem(
                f"{', '.join(map(plain, on))} is in alarm already, and would tell of nothing new: wait until it is OK."
            )

    def require_approved(self, version: str) -> bool:
        """Whether the version is in the registry; one that is must be approved, and be the one that is declared.

        Raises:
            Problem: it waits for approval or was rejected, or the name stands for another artifact there.
        """
        from headrace.registry.versions import State
        from headrace_aws.registry import ModelRegistry

        operator, name = self.operator, self.endpoint.name
        registry = ModelRegistry(
            sagemaker=operator.client("sagemaker"),
            s3=operator.client("s3"),
            prefix=operator.prefix,
            bucket="",  # what is asked here is SageMaker's alone
        )
        with told_plainly():
            named = [each for each in registry.versions(name) if each.version == version]
        if not named:
            return False
        found = max(named, key=lambda each: each.number)
        if found.state is not State.APPROVED:
            raise Problem(
                f"{version} of {name} is {found.state.value} in the registry: "
                f"headrace models approve {name} {version} --why …"
            )
        if found.candidate.digest != self.endpoint.version(version).artifact:
            raise Problem(f"{version} of {name} was approved as another artifact than is declared: register this one.")
        return True

    def current(self, rollout_id: str | None = None) -> "Rollout":
        """The endpoint's last rollout, or the one that is named. Raises Problem."""
        with translated():
            found = (
                self.stores.rollouts.current(self.endpoint.name)
                if rollout_id is None
                else self.stores.rollouts.find(self.endpoint.name, rollout_id)
            )
        if found is None:
            named = "no rollout yet" if rollout_id is None else f"no rollout {plain(rollout_id)}"
            raise Problem(f"{self.endpoint.name} has {named}: headrace rollout history {self.endpoint.name}")
        return found

    def _alarms_on(self, prefix: str) -> list[str]:
        """The alarms on one version that are on. An alarm tells of its changes alone."""
        with told_plainly():
            pages = self.operator.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=prefix)
            alarms = [each for page in pages for each in page["MetricAlarms"]]
        return [each["AlarmName"] for each in alarms if each["StateValue"] == "ALARM"]

    def _component_in_service(self, component: str) -> bool:
        from botocore.exceptions import ClientError

        with told_plainly():
            try:
                found = self.operator.client("sagemaker").describe_inference_component(InferenceComponentName=component)
            except ClientError:
                return False
        return bool(found["InferenceComponentStatus"] == "InService")


def open_office(session: Session, name: str, *, stage: str | None, folder: Path | None) -> Office:
    """The endpoint called `name`, and the stores of the stage that is meant.

    Raises:
        Problem: no such endpoint is declared here, or the account is not found.
    """
    from headrace.declaration.compile import compile_catalog

    operator = find_operator(session, stage)
    declarations = read_folder(session, folder)
    declared = {declaration.name: declaration for declaration in declarations}
    if name not in declared:
        raise UsageProblem(f"No endpoint {plain(name)!r} is declared here; there are {', '.join(declared)}.")
    endpoint = compile_catalog([declared[name]], {}).endpoint(name)
    return Office(operator, declared[name], endpoint, open_stores(operator))


def read_folder(session: Session, folder: Path | None) -> "list[EndpointDeclaration]":
    """The declarations of a folder; of `endpoints/` here or in a folder above where none is named. Raises Problem."""
    from headrace.declaration.files import read_declarations
    from headrace.errors import InvalidDeclarations

    here = session.world.here
    found = folder or next(
        (each / DECLARATIONS for each in (here, *here.parents) if (each / DECLARATIONS).is_dir()), None
    )
    if found is None:
        raise Problem("No endpoints/ is here or above: go to the repository, or name it with --endpoints.")
    try:
        return read_declarations(found)
    except InvalidDeclarations as error:
        raise Problem(f"{error.problems[0]}" + (" (and more)" if len(error.problems) > 1 else "")) from error


def open_stores(operator: Operator) -> Stores:
    """The stores of a stage. Nothing is asked of them yet."""
    from headrace_aws.bounded_calls import BoundedCalls
    from headrace_aws.health_table import HealthTable
    from headrace_aws.rollouts_table import RolloutsTable
    from headrace_aws.routing_table import RoutingTable
    from headrace_aws.state_machine import RolloutExecutions
    from headrace_aws.state_table import StateTable
    from headrace_aws.tallies_table import TalliesTable

    table = StateTable(
        operator.state_table, timeout_s=STORE_TIMEOUT_S, make_client=partial(operator.client, "dynamodb")
    )
    table.warm()  # not within the first call's time
    return Stores(
        rollouts=RolloutsTable(table),
        routings=RoutingTable(table),
        tallies=TalliesTable(table, wall=time.time),
        executions=_Executions(operator, RolloutExecutions, BoundedCalls()),
        health=HealthTable(table),
    )


class _Executions:
    """The state machine; its ARN takes a question to AWS, which only starting one needs."""

    def __init__(self, operator: Operator, kind: Any, calls: Any) -> None:
        self._operator = operator
        self._kind = kind
        self._calls = calls

    def start(self, name: str, *, endpoint: str, rollout_id: str) -> None:
        """See `headrace.rollouts.controller.Executions`."""
        from headrace.errors import StoreUnavailable

        make_client = partial(self._operator.client, "stepfunctions")
        try:
            make_client()  # not within the call's time
            machine = self._kind(self._operator.rollout_machine, calls=self._calls, make_client=make_client)
        except Problem as problem:  # the rollout is written by now: whoever started it must be told its id
            raise StoreUnavailable(str(problem)) from problem
        machine.start(name, endpoint=endpoint, rollout_id=rollout_id)


@contextmanager
def translated() -> Iterator[None]:
    """Turns what the platform's own code refuses into one line. Raises Problem."""
    from headrace.errors import HeadraceError, StoreUnavailable

    try:
        yield
    except HeadraceError as error:
        if isinstance(error, StoreUnavailable):
            _tell_refusal(error.__context__)
        raise Problem(f"{error.code}: {plain(error.message)}") from error


def _tell_refusal(cause: BaseException | None) -> None:
    """Functions say no more than that their store failed; who sits here can mend a credential or a policy."""
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(cause, BotoCoreError | ClientError):
        with told_plainly():
            raise cause
