"""Looking for the answer of an asynchronous endpoint: how long it may take, and when to look again.

Nobody runs while the endpoint works. The next look is a message of its own, so that waiting uses up no delivery of the
one that brought the job: the queue gives a message up after a few.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from headrace.jobs.states import Job

LOOK_MIN_S = 2.0
LOOK_MAX_S = 300.0
"""Between looks for the answer of an asynchronous endpoint, doubling; an event of the answer's arrival comes sooner."""
SENT_MAX_S = 25_500.0
"""The most that such an answer may take: six hours in the queue, one at work (SageMaker), and five minutes."""
DOUBLINGS_MAX = 8


class Looks(Protocol):
    """Messages to come, each of which has a job's answer looked for."""

    def send_look(self, tenant: str, job_id: str, *, after: int, pause_s: float) -> None:
        """Deliver one after `pause_s`; `after` is the number of the run that sends it. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Look:
    """Move the record to `job`, which an asynchronous endpoint has, and look for its answer after `pause_s`."""

    job: Job
    pause_s: float


def look_again(job: Job, *, waits_s: float, now: float) -> Look | None:
    """What becomes of a running job whose answer is still to come; None when it has come too late.

    Args:
        job: as it runs.
        waits_s: how long the answer may take from now, as the first run that sent it was told.
        now: seconds since the epoch.
    """
    until = job.sent_until or now + min(SENT_MAX_S, waits_s)
    if now >= until:
        return None
    pause_s = min(LOOK_MAX_S, LOOK_MIN_S * 2.0 ** min(job.waits, DOUBLINGS_MAX), until - now)
    waiting = replace(job, state="sent", waits=job.waits + 1, sent_until=until, lease_until=0.0)
    return Look(waiting, pause_s)
