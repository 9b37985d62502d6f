"""Asynchronous endpoints in memory: what was sent waits until a test says what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.catalog import Endpoint, Version
from headrace.errors import AnswerPending, AttemptTimedOut, HeadraceError, TargetUnavailable
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.jobs.asynchronous import AsyncRun, Sent


@dataclass(slots=True)
class FakeAsynchronous:
    """See `headrace.jobs.asynchronous.Asynchronous`. `wall` is seconds since the epoch; `down` takes nothing."""

    wall: Callable[[], float]
    sent: dict[AsyncRun, Sent] = field(default_factory=dict)
    requests: list[tuple[AsyncRun, InferenceRequest]] = field(default_factory=list)
    outcomes: dict[AsyncRun, InferenceResponse | HeadraceError] = field(default_factory=dict)
    down: bool = False

    def find(self, run: AsyncRun) -> InferenceResponse | None:
        """What the test has put there."""
        outcome = self.outcomes.get(run)
        if isinstance(outcome, HeadraceError):
            raise outcome
        if outcome is not None or run not in self.sent:
            return outcome
        if self.wall() >= self.sent[run].until:
            raise AttemptTimedOut("Nothing came in time.")
        raise AnswerPending("It is under way.", waits_s=self.sent[run].until - self.wall())

    def send(
        self,
        run: AsyncRun,
        endpoint: Endpoint,
        version: Version,
        request: InferenceRequest,
        *,
        tier: int,
        binary_output: bool = False,
    ) -> Sent:
        """Keep the request."""
        del tier, binary_output
        rules = endpoint.async_inference
        if self.down or rules is None or rules.version != version.name:
            raise TargetUnavailable("The fake is down.")
        self.requests.append((run, request))
        self.sent[run] = Sent(run.output_key, "", self.wall() + rules.queue_s + rules.timeout_s)
        return self.sent[run]
