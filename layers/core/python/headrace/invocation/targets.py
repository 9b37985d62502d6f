"""The two ways to an answer, as ports, and what each failure means for what is done next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from headrace.catalog import Endpoint, Rung, Version
from headrace.errors import AttemptFailed, TargetSaturated, TargetThrottled, TargetUnavailable
from headrace.health.view import Verdict
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.steps import Outcomes


class Primary(Protocol):
    """The hosted endpoint."""

    def invoke(
        self,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        timeout_s: float,
        tier: int,
        binary_output: bool = False,
    ) -> InferenceResponse:
        """The answer of one version.

        Args:
            endpoint: what is asked.
            version: which of its hosted versions.
            request: checked tensors.
            timeout_s: for the whole answer; the endpoint is told, and drops the work when it has passed.
            tier: of the caller's plan: an endpoint that has too much to do drops the lowest first.
            binary_output: whether raw tensors are wanted back.

        Raises:
            AttemptFailed: one of its kinds.
            InvalidRequest: the model says that the caller must change the request.
        """

    def race(
        self,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        timeout_s: float,
        after_s: float,
        may_start: Callable[[], bool],
        tier: int,
        binary_output: bool = False,
    ) -> Outcomes:
        """Ask, and ask once more when no answer is there after `after_s` and `may_start` agrees.

        Returns:
            The outcome that counts first; then, when a second call was made, what is known of the other one.

        Raises:
            InvalidRequest: as `invoke`.
        """


class StandIn(Protocol):
    """The CPU function that answers when the endpoint cannot."""

    def invoke(
        self, endpoint: Endpoint, rung: Rung, request: InferenceRequest, *, timeout_s: float
    ) -> InferenceResponse:
        """The answer of one rung; raises as `Primary.invoke` does."""


def verdict_on(failure: AttemptFailed) -> Verdict:
    """What a failure says about the target: saturation is answered by asking less often, anything else is a fault."""
    return "saturated" if isinstance(failure, TargetThrottled | TargetSaturated) else "bad"


def is_transient(failure: AttemptFailed) -> bool:
    """Whether the same request may well succeed if sent again at once.

    Only what never reached a model: a model that failed will fail again, one that is saturated would be asked for even
    more, and one that did not answer in time has used up the time that a second attempt would need.
    """
    return isinstance(failure, TargetUnavailable)
