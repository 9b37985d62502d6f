"""Performs the policy's steps for one request: calls by the two ports, pauses by sleeping.

A Lambda environment serves one request at a time, so nothing is kept waiting by a call that blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headrace.catalog import Endpoint, Rung
from headrace.errors import AttemptFailed
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.invocation.steps import Call, Outcome, Outcomes, Pause, Race, Step
from headrace.invocation.targets import Primary, StandIn


@dataclass(frozen=True, slots=True)
class Performer:
    """What one request sends, and to whom.

    Args:
        primary: the hosted endpoint.
        stand_in: the CPU function.
        request: the checked tensors.
        endpoint: whose targets are called.
        tier: of the caller's plan.
        binary_output: whether raw tensors are wanted back from hosted versions.
        clock: monotonic seconds.
        sleep: waits so many seconds.
    """

    primary: Primary
    stand_in: StandIn
    request: InferenceRequest
    endpoint: Endpoint
    tier: int
    binary_output: bool
    clock: Callable[[], float]
    sleep: Callable[[float], None]

    def perform(self, step: Step) -> Outcomes:
        """The outcomes of a step.

        Raises:
            InvalidRequest: the model says that the caller must change the request.
        """
        match step:
            case Pause(seconds):
                self.sleep(seconds)
                return ()
            case Race(Call(target, timeout_s), after_s, may_start):
                version = self.endpoint.version(target.version)
                try:
                    return self.primary.race(
                        self.endpoint,
                        version,
                        self.request,
                        timeout_s=timeout_s,
                        after_s=after_s,
                        may_start=may_start,
                        tier=self.tier,
                        binary_output=self.binary_output,
                    )
                except AttemptFailed as failure:
                    return (Outcome(target, 0.0, failure=failure),)
            case Call(target, timeout_s):
                before_s = self.clock()
                try:
                    response = self._call(step)
                except AttemptFailed as failure:
                    return (Outcome(target, self.clock() - before_s, failure=failure),)
                return (Outcome(target, self.clock() - before_s, response=response),)

    def _call(self, call: Call) -> InferenceResponse:
        target = call.target
        if target.kind == "primary" or target.kind == "variant":  # noqa: PLR1714 - the form that narrows the type
            return self.primary.invoke(
                self.endpoint,
                self.endpoint.version(target.version),
                self.request,
                timeout_s=call.timeout_s,
                tier=self.tier,
                binary_output=self.binary_output,
            )
        rung = Rung(target.kind, round(call.timeout_s * 1000), target.version)
        return self.stand_in.invoke(self.endpoint, rung, self.request, timeout_s=call.timeout_s)
