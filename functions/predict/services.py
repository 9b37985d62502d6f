"""What the routes need, as one value made at the composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from headrace.catalog import Catalog
from headrace.identity import Principal
from headrace.invocation.policy import Policy
from headrace.invocation.targets import Primary, StandIn

if TYPE_CHECKING:
    from headrace.batches.ordering.offers import Batches
    from headrace.idempotency.keys import Idempotency
    from headrace.jobs.asynchronous import Asynchronous
    from headrace.jobs.offers import Jobs
    from headrace.rollouts.copies import Copier
    from headrace.rollouts.recorder import Recorder
    from headrace.routing.held import HeldRouting


class Inputs(Protocol):
    """Objects that callers uploaded."""

    def read(self, uri: str, *, tenant: str, bytes_max: int, timeout_s: float) -> bytes:
        """The object's bytes, if it is below the tenant's prefix."""


class Callers(Protocol):
    """Who an IAM identity is to this platform."""

    def principal(self, identity: Mapping[str, Any]) -> Principal:
        """The caller behind `requestContext.identity`, which API Gateway verified.

        Raises:
            Forbidden: AWS knows it, and we do not.
        """


@dataclass(frozen=True, slots=True)
class Services:
    """Ports, catalog, policy, clock, and where a finished request is reported.

    `policy` is made when first asked for, not in a snapshot that many processes start from. So are `idempotency` and
    `jobs`: few requests need them, and a cold start does not pay for them. Without `jobs` nothing is deferred, and
    without `asynchronous` every job is served as a caller who waits. Without `batches` there are no files either.
    Without `routing` the declaration alone decides which version serves whom, without `recorder` nothing is counted for
    rollouts and experiments, and without `copier` no request is copied to a shadow.
    """

    catalog: Catalog
    primary: Primary
    stand_in: StandIn
    inputs: Inputs
    policy: Callable[[], Policy]
    idempotency: Callable[[], Idempotency]
    callers: Callers
    jobs: Callable[[], Jobs] | None
    clock: Callable[[], float]
    sleep: Callable[[float], None]
    report: Callable[[dict[str, Any]], None]
    asynchronous: Callable[[], Asynchronous] | None = None
    batches: Callable[[], Batches] | None = None
    routing: Callable[[], HeldRouting] | None = None
    recorder: Callable[[], Recorder] | None = None
    copier: Callable[[], Copier] | None = None
