"""The catalog: every endpoint as the functions see it, compiled from the declarations before deployment.

It is one JSON document, small enough to read at cold start, with nothing in it that only deployment needs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from headrace.errors import UnknownTarget
from headrace.plans import Budget, Cost, Plan, Rate
from headrace.tensors import TensorSpec

FORMAT = 2
ASYNC_SUFFIX = "-async"
"""What ends the name of an asynchronous endpoint, and may end no declared one's."""
COMPONENT_NAME_MAX_CHARS = 63
"""SageMaker API, CreateInferenceComponent."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a version can take and whom it serves. An empty tuple, or None, is no restriction.

    `cost_class` orders versions from cheap (0) upwards; `languages` are BCP 47 primary tags in lower case; `tenants`,
    `plans` and `groups` (experiment groups) are the only ones that may be served; `tier_min` is the lowest tier taken.
    """

    hardware: Literal["gpu", "cpu"] = "gpu"
    cost_class: int = 1
    languages: tuple[str, ...] = ()
    max_items: int | None = None
    max_text_chars: int | None = None
    max_payload_bytes: int | None = None
    tenants: tuple[str, ...] = ()
    plans: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tier_min: int = 0


@dataclass(frozen=True, slots=True)
class Version:
    """A model version. `weight` is its share of traffic among the versions hosted on the endpoint.

    `cost` None means the endpoint's.
    """

    name: str
    artifact: str
    hosting: Literal["endpoint", "function"]
    weight: int
    capabilities: Capabilities = Capabilities()
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the fallback ladder below the primary; `version` is empty for rules and for the stale cache.

    `stale` answers from the cache past its freshness, `variant` is another hosted version, `cpu` a small model in the
    stand-in function, `rules` no model at all.
    """

    kind: Literal["stale", "variant", "cpu", "rules"]
    timeout_ms: int
    version: str = ""


@dataclass(frozen=True, slots=True)
class CacheRules:
    """How long answers to the same request may be given again.

    Args:
        fresh_s: an answer this old is as good as a new one.
        stale_s: an answer this old is still better than none, and is marked as degraded.
        shared: whether a function that does not have the answer itself asks the table before the model.
        entry_bytes_max: larger answers are not kept.
    """

    fresh_s: int
    stale_s: int
    shared: bool = False
    entry_bytes_max: int = 65_536


@dataclass(frozen=True, slots=True)
class BatchRules:
    """How batches ask this endpoint; None, and 0, leave it to the platform.

    Args:
        transform_records_min: from so many records on, instances of their own (a transform job) take a batch.
        transform_instance_type: what those instances are; empty is the first that the endpoint itself runs on.
        transform_instances: how many of them.
        items_per_request_max: the most things asked for in one request of a batch; 0 is the endpoint's `max_items`.
    """

    transform_records_min: int | None = None
    transform_instance_type: str = ""
    transform_instances: int = 1
    items_per_request_max: int = 0


@dataclass(frozen=True, slots=True)
class AsyncRules:
    """The asynchronous endpoint that serves jobs: the one version that it hosts, and its two limits.

    Args:
        version: a hosted version's name.
        timeout_s: what one request may take once it is begun.
        queue_s: how long it may wait to be begun.
    """

    version: str
    timeout_s: int
    queue_s: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one request; `None` where the task has no such thing."""

    max_payload_bytes: int
    max_items: int
    max_text_chars: int | None = None
    max_image_bytes: int | None = None
    max_pixels: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One declared endpoint. With `components` its versions are inference components, otherwise production variants."""

    name: str
    task: str
    description: str
    default: bool
    labels: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    versions: tuple[Version, ...]
    deadline_default_ms: int
    deadline_max_ms: int
    slo_latency_p99_ms: int
    limits: Limits
    ladder: tuple[Rung, ...]
    cost: Cost | None = None
    cache: CacheRules | None = None
    hedge: bool = False
    batch: BatchRules | None = None
    async_inference: AsyncRules | None = None
    components: bool = False

    @property
    def hosted(self) -> tuple[Version, ...]:
        """Versions that run on the SageMaker endpoint, in the order declared."""
        return tuple(version for version in self.versions if version.hosting == "endpoint")

    def version(self, name: str) -> Version:
        """The version called `name`.

        Raises:
            UnknownTarget: there is none.
        """
        for version in self.versions:
            if version.name == name:
                return version
        raise UnknownTarget(
            f"This model has no such version; it has {', '.join(v.name for v in self.hosted)}.",
            code="version_not_found",
        )


@dataclass(frozen=True, slots=True)
class Catalog:
    """All endpoints and all plans by name."""

    endpoints: dict[str, Endpoint]
    plans: dict[str, Plan] = field(default_factory=dict)

    def endpoint(self, name: str) -> Endpoint:
        """The endpoint called `name`.

        Raises:
            UnknownTarget: there is none.
        """
        found = self.endpoints.get(name)
        if found is None:
            raise UnknownTarget("There is no such model; GET /v1/models lists those you may use.")
        return found

    @property
    def tiers(self) -> tuple[int, ...]:
        """The tiers that plans have, the lowest first: under overload only their order counts, not their numbers."""
        return tuple(sorted({plan.tier for plan in self.plans.values()}))

    def for_task(self, task: str, name: str | None) -> Endpoint:
        """The endpoint that serves `task`: the one called `name`, else the declared default, else the only one.

        Raises:
            UnknownTarget: none serves it, or several do and none is the default.
        """
        if name is not None:
            endpoint = self.endpoint(name)
            if endpoint.task != task:
                raise UnknownTarget(f"That model does not serve {task}; GET /v1/models tells what each one does.")
            return endpoint
        candidates = [endpoint for endpoint in self.endpoints.values() if endpoint.task == task]
        defaults = [endpoint for endpoint in candidates if endpoint.default] or candidates
        if len(defaults) != 1:
            raise UnknownTarget(f"Name a model for {task}: GET /v1/models lists those you may use.")
        return defaults[0]


def component_name(prefix: str, endpoint: str, version: str) -> str:
    """What the inference component of a version is called; `prefix` begins the name of every endpoint of the stage."""
    return f"{prefix}-{endpoint}-{version}"


def dump(catalog: Catalog) -> str:
    """The catalog as canonical JSON."""
    document = {
        "format": FORMAT,
        "endpoints": [asdict(endpoint) for endpoint in catalog.endpoints.values()],
        "plans": [asdict(plan) for plan in catalog.plans.values()],
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n"


def load(text: str) -> Catalog:
    """The catalog that `dump` wrote.

    Raises:
        ValueError: the document is of another format.
    """
    document = json.loads(text)
    if document.get("format") != FORMAT:
        raise ValueError(f"catalog format {document.get('format')!r} is not {FORMAT}: compile the declarations again")
    return Catalog(
        {fields["name"]: _endpoint(fields) for fields in document["endpoints"]},
        {fields["name"]: _plan(fields) for fields in document["plans"]},
    )


def _specs(rows: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(row["name"], row["datatype"], tuple(row["shape"])) for row in rows)


def _endpoint(fields: dict[str, Any]) -> Endpoint:
    return Endpoint(
        **{
            **fields,
            "labels": tuple(fields["labels"]),
            "inputs": _specs(fields["inputs"]),
            "outputs": _specs(fields["outputs"]),
            "versions": tuple(_version(row) for row in fields["versions"]),
            "limits": Limits(**fields["limits"]),
            "ladder": tuple(Rung(**row) for row in fields["ladder"]),
            "cost": _cost(fields["cost"]),
            "cache": CacheRules(**fields["cache"]) if fields["cache"] else None,
            "batch": BatchRules(**fields["batch"]) if fields.get("batch") else None,
            "async_inference": AsyncRules(**fields["async_inference"]) if fields.get("async_inference") else None,
        }
    )


def _version(fields: dict[str, Any]) -> Version:
    said: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields["capabilities"].items()
    }
    return Version(**{**fields, "capabilities": Capabilities(**said), "cost": _cost(fields["cost"])})


def _cost(fields: dict[str, Any] | None) -> Cost | None:
    return None if fields is None else Cost(**fields)


def _plan(fields: dict[str, Any]) -> Plan:
    budgets = tuple(Budget(**row) for row in fields["budgets"])
    return Plan(**{**fields, "rate": Rate(**fields["rate"]), "budgets": budgets})
