"""The shape of `endpoint.yaml`, and everything that one file can get wrong by itself.

Units are in the names. What one field can get wrong alone is in its type; how fields contradict each other is found by
`EndpointDeclaration.problems`, which lists every disagreement instead of stopping at the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from headrace.declaration.asynchronous import AsyncDeclaration, async_version, name_problems
from headrace.declaration.components import ComponentsDeclaration, component_problems
from headrace.declaration.golden import Golden, golden_problems
from headrace.declaration.policy import (
    BatchDeclaration,
    CacheDeclaration,
    CostDeclaration,
    Ladder,
    ServesDeclaration,
    ladder_problems,
)
from headrace.declaration.rollout import RolloutDeclaration
from headrace.declaration.shape import (
    DIGEST_PATTERN,
    INSTANCE_PATTERN,
    VERSION_PATTERN,
    Declared,
    Milliseconds,
    Name,
    Problem,
)
from headrace.limits import PAYLOAD_MAX_BYTES, VARIANTS_MAX
from headrace.plans import Plan
from headrace.tasks.contracts import TASKS
from headrace.tensors import DATATYPES

MEANING_MAX_CHARS = 300
API_VERSION_MAX = 1_000


class TensorDeclaration(Declared):
    """A tensor of a task that leaves its signature to the endpoint.

    `meaning` says what shapes cannot: unit, order, range. It is part of the contract, so a change of it is one.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$")]
    datatype: str
    shape: Annotated[list[Annotated[int, Field(ge=-1)]], Field(max_length=8)]
    meaning: Annotated[str, Field(max_length=MEANING_MAX_CHARS)] = ""

    @model_validator(mode="after")
    def known_datatype(self) -> Self:
        """Refuse a datatype that the Open Inference Protocol does not have."""
        if self.datatype not in DATATYPES:
            raise ValueError(f"datatype must be one of {', '.join(sorted(DATATYPES))}")
        return self


class VersionDeclaration(Declared):
    """One model version: an artifact by digest, where it runs, its share of traffic, whom it serves, its cost."""

    artifact: Annotated[str, Field(pattern=DIGEST_PATTERN)]
    hosting: Literal["endpoint", "function"] = "endpoint"
    weight: Annotated[int, Field(ge=0, le=1000)] = 1
    floor: dict[str, float] = Field(default_factory=dict)
    serves: ServesDeclaration = ServesDeclaration()
    cost: CostDeclaration | None = None


class Hardware(Declared):
    """What the endpoint runs on; the first instance type is preferred, the others are taken when it cannot be had."""

    accelerator: Literal["gpu", "cpu"]
    instance_types: Annotated[list[Annotated[str, Field(pattern=INSTANCE_PATTERN)]], Field(min_length=1, max_length=5)]


class Capacity(Declared):
    """Warm capacity and how far it may grow."""

    mode: Literal["always_on"]
    min_instances: Annotated[int, Field(ge=1, le=100)]
    max_instances: Annotated[int, Field(ge=1, le=100)]
    concurrent_requests_per_instance: Annotated[int, Field(ge=1, le=1000)]

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """The least is not above the most."""
        if self.max_instances < self.min_instances:
            raise ValueError("max_instances must be at least min_instances")
        return self


class Batching(Declared):
    """How the serving program batches. `max_size` 0 takes the knee of the curve measured at start."""

    max_size: Annotated[int, Field(ge=0, le=1024)] = 0
    max_delay_ms: Annotated[int, Field(ge=0, le=1000)] = 0
    queue_max: Annotated[int, Field(ge=1, le=100_000)] = 256


class DeadlineDeclaration(Declared):
    """How long a caller waits at most, by default and when it asks for more."""

    default_ms: Milliseconds
    max_ms: Milliseconds

    @model_validator(mode="after")
    def ordered(self) -> Self:
        """The default is not above the most."""
        if self.default_ms > self.max_ms:
            raise ValueError("default_ms must not exceed max_ms")
        return self


class Slo(Declared):
    """What is promised, over a rolling window: alarms and rollouts are judged against it."""

    latency_p99_ms: Milliseconds
    availability: Annotated[float, Field(gt=0.5, lt=1.0)]


class LimitsDeclaration(Declared):
    """Bounds on one request. Which of them apply follows from the task."""

    max_payload_bytes: Annotated[int, Field(ge=1, le=PAYLOAD_MAX_BYTES)] = PAYLOAD_MAX_BYTES
    max_items: Annotated[int, Field(ge=1, le=10_000)] = 32
    max_text_chars: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_image_bytes: Annotated[int, Field(ge=1, le=PAYLOAD_MAX_BYTES)] | None = None
    max_pixels: Annotated[int, Field(ge=1, le=100_000_000)] | None = None


class EndpointDeclaration(Declared):
    """One endpoint, whole."""

    api: Literal["headrace/v1"]
    name: Name
    task: str
    description: Annotated[str, Field(min_length=1, max_length=500)]
    default: bool = False
    # The number of the contract: what goes in, what comes out, what it means. The registry refuses a version that
    # changes these under the number of those before it.
    api_version: Annotated[int, Field(ge=1, le=API_VERSION_MAX)] = 1
    labels: Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=10_000)] | None = None
    inputs: list[TensorDeclaration] | None = None
    outputs: list[TensorDeclaration] | None = None
    versions: Annotated[dict[Annotated[str, Field(pattern=VERSION_PATTERN)], VersionDeclaration], Field(min_length=1)]
    hardware: Hardware
    capacity: Capacity
    batching: Batching = Batching()
    deadline: DeadlineDeclaration
    slo: Slo
    limits: LimitsDeclaration = LimitsDeclaration()
    fallback: Ladder = Field(default_factory=list)
    cost: CostDeclaration | None = None
    cache: CacheDeclaration | None = None
    hedge: bool = False
    batch: BatchDeclaration = BatchDeclaration()
    async_inference: AsyncDeclaration | None = None
    components: ComponentsDeclaration | None = None
    golden: Golden = Field(default_factory=list)
    rollout: RolloutDeclaration = RolloutDeclaration()

    @property
    def async_version(self) -> str:
        """The version that the asynchronous endpoint hosts, if there is one."""
        return async_version({name: v.weight for name, v in self.versions.items() if v.hosting == "endpoint"})

    def problems(self, plans: Mapping[str, Plan] | None = None) -> list[Problem]:
        """Every way in which the parts contradict each other, or the plans, as (path, what to do).

        Args:
            plans: the declared plans by name, or None when they are not known.
        """
        return [
            *name_problems(self.name),
            *self._task_problems(),
            *self._version_problems(),
            *component_problems(
                self.components,
                accelerator=self.hardware.accelerator,
                versions=sum(version.hosting == "endpoint" for version in self.versions.values()),
                max_instances=self.capacity.max_instances,
            ),
            *golden_problems(self.golden, task=self.task, versions=self.versions),
            *(found for name in self.versions for found in self._serves_problems(name)),
            *(found for name in self.versions for found in self._plan_problems(name, plans)),
        ]

    def _task_problems(self) -> list[Problem]:
        contract = TASKS.get(self.task)
        if contract is None:
            return [(("task",), f"must be one of {', '.join(sorted(TASKS))}")]
        problems: list[Problem] = []
        if contract.needs_labels and not self.labels:
            problems.append((("task",), f"{self.task} needs labels: the names of the answer's columns, in their order"))
        if self.labels and len(set(self.labels)) != len(self.labels):
            problems.append((("labels",), "labels must differ from each other"))
        for field, declared in (("inputs", self.inputs), ("outputs", self.outputs)):
            if contract.declares_tensors and not declared:
                problems.append((("task",), f"{self.task} needs {field}: name, datatype and shape of each tensor"))
            elif not contract.declares_tensors and declared:
                problems.append(((field,), f"{self.task} fixes its tensors: leave {field} out"))
        if contract.takes_text and self.limits.max_text_chars is None:
            problems.append((("limits",), f"{self.task} needs limits.max_text_chars"))
        if contract.takes_images and (self.limits.max_image_bytes is None or self.limits.max_pixels is None):
            problems.append((("limits",), f"{self.task} needs limits.max_image_bytes and limits.max_pixels"))
        return problems

    def _version_problems(self) -> list[Problem]:
        problems: list[Problem] = []
        hosted = [name for name, version in self.versions.items() if version.hosting == "endpoint"]
        if not any(self.versions[name].weight for name in hosted):
            problems.append((("versions",), "at least one version hosted on the endpoint needs a weight above 0"))
        if len(hosted) > VARIANTS_MAX:
            problems.append((("versions",), f"SageMaker takes at most {VARIANTS_MAX} variants; {len(hosted)} declared"))
        in_function = [name for name in self.versions if name not in hosted]
        problems += ladder_problems(self.fallback, hosted=hosted, in_function=in_function, cache=self.cache)
        if (self.batch.items_per_request_max or 0) > self.limits.max_items:
            path = ("batch", "items_per_request_max")
            problems.append((path, f"cannot exceed limits.max_items, which is {self.limits.max_items}"))
        if self.slo.latency_p99_ms > self.deadline.default_ms:
            problems.append((("slo", "latency_p99_ms"), "cannot exceed deadline.default_ms: callers would have left"))
        return problems

    def _serves_problems(self, name: str) -> list[Problem]:
        """What a version says that it can take, held against where it runs and what the endpoint takes."""
        version, path = self.versions[name], ("versions", name, "serves")
        runs_on = self.hardware.accelerator if version.hosting == "endpoint" else "cpu"
        problems: list[Problem] = []
        if version.serves.hardware not in {None, runs_on}:
            problems.append(((*path, "hardware"), f"this version runs on {runs_on}"))
        for bound in ("max_items", "max_text_chars", "max_payload_bytes"):
            said, whole = getattr(version.serves, bound), getattr(self.limits, bound)
            if said is not None and (whole is None or said > whole):
                problems.append(((*path, bound), f"cannot exceed limits.{bound}, which is {whole or 'not declared'}"))
        return problems

    def _plan_problems(self, name: str, plans: Mapping[str, Plan] | None) -> list[Problem]:
        """What a version says of plans, held against those that there are."""
        if plans is None:
            return []
        serves, path = self.versions[name].serves, ("versions", name, "serves")
        problems: list[Problem] = []
        for index, plan in enumerate(serves.plans):
            if plan not in plans:
                problems.append(((*path, "plans", index), f"must be one of {', '.join(sorted(plans))}"))
            elif plans[plan].tier < serves.tier_min:
                problems.append(((*path, "plans", index), f"{plan} has tier {plans[plan].tier}, below tier_min"))
        if all(plan.tier < serves.tier_min for plan in plans.values()):
            problems.append(((*path, "tier_min"), "is above the tier of every plan: nobody would be served"))
        return problems
