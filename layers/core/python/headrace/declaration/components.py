"""What `components` of an `endpoint.yaml` says: versions share the endpoint's instances as inference components.

Without the section each version is a production variant with instances of its own. Limits are SageMaker's:
`InferenceComponentComputeResourceRequirements`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headrace.declaration.shape import Declared, Problem

CPUS_MIN = 0.25
MEMORY_MIN_MB = 128


class ComponentsDeclaration(Declared):
    """Copies of every version, placed on the instances that `capacity` declares for all of them together.

    `memory_mb`, `cpus` and `accelerators` are what one copy takes of an instance, `copies_per_instance` is how many fit
    on one. A version has `min_copies` whether or not anyone calls it; `max_copies` None is as many as the instances
    take. One instance's declared concurrency is shared by the copies on it.
    """

    copies_per_instance: Annotated[int, Field(ge=1, le=100)]
    memory_mb: Annotated[int, Field(ge=MEMORY_MIN_MB, le=4_000_000)]
    cpus: Annotated[float, Field(ge=CPUS_MIN, le=1_000, strict=False)] | None = None
    accelerators: Annotated[int, Field(ge=0, le=16)] = 0
    min_copies: Annotated[int, Field(ge=1, le=100)] = 1
    max_copies: Annotated[int, Field(ge=1, le=1_000)] | None = None


def instances_needed(components: ComponentsDeclaration, *, versions: int) -> int:
    """How many instances the least copies of `versions` versions take together."""
    return -(-components.min_copies * versions // components.copies_per_instance)


def component_problems(
    components: ComponentsDeclaration | None, *, accelerator: Literal["gpu", "cpu"], versions: int, max_instances: int
) -> list[Problem]:
    """What is wrong with the section, given what the instances are and how many versions they host.

    Args:
        components: the section, or None where there is none.
        accelerator: of `hardware`.
        versions: hosted on the endpoint.
        max_instances: of `capacity`.
    """
    if components is None:
        return []
    problems: list[Problem] = []
    if (accelerator == "gpu") != (components.accelerators > 0):
        wanted = "at least 1: hardware.accelerator is gpu" if accelerator == "gpu" else "0: hardware.accelerator is cpu"
        problems.append((("components", "accelerators"), f"must be {wanted}"))
    if components.max_copies is not None and components.max_copies < components.min_copies:
        problems.append((("components", "max_copies"), "must be at least min_copies"))
    needed = instances_needed(components, versions=versions)
    if needed > max_instances:
        says = f"{versions} versions of {components.min_copies} copies take {needed} instances, more than"
        problems.append((("components", "min_copies"), f"{says} capacity.max_instances"))
    return problems
