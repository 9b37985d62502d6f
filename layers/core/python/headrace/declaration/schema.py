"""The shape of `endpoint.yaml`, and everything that one file can get wrong by itself.

Units are in the names. What one field can get wrong alone is in its type; how fields contradict each other is found by
`EndpointDeclaration.problems`, which lists every disagreement instead of stopping at the first.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headrace.limits import DEADLINE_MAX_MS, PAYLOAD_MAX_BYTES, VARIANTS_MAX
from headrace.tasks.contracts import TASKS
from headrace.tensors import DATATYPES

NAME_PATTERN = r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$"
VERSION_PATTERN = r"^[a-z0-9][a-z0-9-]{0,30}$"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
INSTANCE_PATTERN = r"^ml\.[a-z0-9-]+\.[a-z0-9]+$"

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Problem = tuple[tuple[str | int, ...], str]
Milliseconds = Annotated[int, Field(ge=1, le=DEADLINE_MAX_MS)]


class Declared(BaseModel):
    """Unknown fields are mistakes, and nothing is coerced from another type."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TensorDeclaration(Declared):
    """A tensor of a task that leaves its signature to the endpoint."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$")]
    datatype: str
    shape: Annotated[list[Annotated[int, Field(ge=-1)]], Field(max_length=8)]

    @model_validator(mode="after")
    def known_datatype(self) -> Self:
        """Refuse a datatype that the Open Inference Protocol does not have."""
        if self.datatype not in DATATYPES:
            raise ValueError(f"datatype must be one of {', '.join(sorted(DATATYPES))}")
        return self


class VersionDeclaration(Declared):
    """One model version: an artifact by digest, where it runs, and its share of traffic."""

    artifact: Annotated[str, Field(pattern=DIGEST_PATTERN)]
    hosting: Literal["endpoint", "function"] = "endpoint"
    weight: Annotated[int, Field(ge=0, le=1000)] = 1
    floor: dict[str, float] = Field(default_factory=dict)


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


class CpuRung(Declared):
    """The CPU function with a small model."""

    kind: Literal["cpu"]
    version: str
    timeout_ms: Milliseconds = 1000


class RulesRung(Declared):
    """`endpoints/<name>/rules.py` in the CPU function: no model at all."""

    kind: Literal["rules"]
    timeout_ms: Milliseconds = 500


Rung = Annotated[CpuRung | RulesRung, Field(discriminator="kind")]


class EndpointDeclaration(Declared):
    """One endpoint, whole."""

    api: Literal["headrace/v1"]
    name: Name
    task: str
    description: Annotated[str, Field(min_length=1, max_length=500)]
    default: bool = False
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
    fallback: Annotated[list[Rung], Field(max_length=4)] = Field(default_factory=list)

    def problems(self) -> list[Problem]:
        """Every way in which the parts contradict each other, as (path, what to do)."""
        return [*self._task_problems(), *self._version_problems()]

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
        kinds = [rung.kind for rung in self.fallback]
        if len(set(kinds)) != len(kinds):
            problems.append((("fallback",), "each kind of rung may stand once"))
        for index, rung in enumerate(self.fallback):
            if isinstance(rung, CpuRung) and getattr(self.versions.get(rung.version), "hosting", None) != "function":
                problems.append(
                    (("fallback", index, "version"), "must name one of versions that says `hosting: function`")
                )
        if self.slo.latency_p99_ms > self.deadline.default_ms:
            problems.append((("slo", "latency_p99_ms"), "cannot exceed deadline.default_ms: callers would have left"))
        return problems
