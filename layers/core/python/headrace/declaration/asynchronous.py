"""What `async_inference` of an `endpoint.yaml` says: an endpoint for jobs that rests at no instances.

Limits are SageMaker's: `InvokeEndpointAsync`, InvocationTimeoutSeconds and RequestTTLSeconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from headrace.catalog import ASYNC_SUFFIX
from headrace.declaration.shape import INSTANCE_PATTERN, Declared, Problem


class AsyncDeclaration(Declared):
    """Serves the jobs of its endpoint; `instance_types` are those of `hardware` unless they are said here.

    A request may wait for `queue_s` seconds, some minutes of which an instance takes to start, and be worked at for
    `timeout_s`.
    """

    max_instances: Annotated[int, Field(ge=1, le=100)]
    concurrent_requests_per_instance: Annotated[int, Field(ge=1, le=1000)]
    timeout_s: Annotated[int, Field(ge=1, le=3600)] = 900
    queue_s: Annotated[int, Field(ge=60, le=21_600)] = 3600
    instance_types: (
        Annotated[list[Annotated[str, Field(pattern=INSTANCE_PATTERN)]], Field(min_length=1, max_length=5)] | None
    ) = None


def async_version(weights: Mapping[str, int]) -> str:
    """The version that the asynchronous endpoint hosts: the one with the greatest weight, the first of several.

    `InvokeEndpointAsync` takes no target variant, so several could not be told apart.

    Args:
        weights: of the versions that the endpoint hosts, in the order declared.
    """
    return max(weights, key=lambda name: weights[name])


def name_problems(name: str) -> list[Problem]:
    """What is wrong with an endpoint's name, given how asynchronous endpoints are called."""
    if name.endswith(ASYNC_SUFFIX):
        return [(("name",), f"must not end in {ASYNC_SUFFIX}: so end the names of asynchronous endpoints")]
    return []
