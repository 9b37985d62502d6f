"""Jobs that an asynchronous endpoint serves: what marks such a run, where its parts lie, what it needs of the outside.

A run of a job says so in its event's `requestContext`, which API Gateway writes and no caller can. Such a request is
sent to the endpoint that the declaration calls asynchronous, if there is one; a later run of the same job fetches what
came of it. All keys follow from tenant, job and round: a run that died is found again by the next one, and what is sent
twice is written to one place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.catalog import Endpoint, Version
from headrace.errors import StoreUnavailable
from headrace.inference import InferenceRequest, InferenceResponse
from headrace.jobs.states import Job, is_id

MARK = "headrace"
"""The member of `requestContext` that a job's run has and no caller's request."""
WAITS_HEADER = "x-headrace-waits-s"
"""How long the answer of a request that was sent on may take, in seconds; only ever told to the one who runs jobs."""
OVER_NOW = "0"
"""It has come to nothing, and no answer will come: what is done next begins anew."""
OUTPUT_PREFIX = "async/output/"
FAILED_PREFIX = "async/failed/"
INPUT_PREFIX = "async/input/"
SENT_PREFIX = "async/sent/"

_ARRIVED = re.compile(rf"(?:{OUTPUT_PREFIX}|{FAILED_PREFIX})(?P<tenant>[a-z0-9-]+)/(?P<job>[^/]+)/[^/]+")


@dataclass(frozen=True, slots=True)
class AsyncRun:
    """A run of a job: its tenant, its id, and how often what was sent for it has come to nothing before."""

    tenant: str
    job_id: str
    round: int

    @property
    def folder(self) -> str:
        """What every key of the job has between its prefix and its name."""
        return f"{self.tenant}/{self.job_id}"

    @property
    def output_name(self) -> str:
        """The last part of the output's key: at most 32 characters with one dot (InvokeEndpointAsync, Filename)."""
        return f"{self.round}.out"

    @property
    def output_key(self) -> str:
        """Where the output is written."""
        return f"{OUTPUT_PREFIX}{self.folder}/{self.output_name}"

    @property
    def input_key(self) -> str:
        """Where the input lies that is too large to be sent inline."""
        return f"{INPUT_PREFIX}{self.folder}/{self.round}"

    @property
    def sent_key(self) -> str:
        """Where it is written down that the request was sent."""
        return f"{SENT_PREFIX}{self.folder}/{self.round}.json"


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was sent: the keys of what comes of it, and until when that may come, in seconds since the epoch.

    `failure_key` is empty when a failure leaves nothing.
    """

    output_key: str
    failure_key: str
    until: float


class Asynchronous(Protocol):
    """Asynchronous endpoints."""

    def find(self, run: AsyncRun) -> InferenceResponse | None:
        """What came of the run's request; None when it was never sent.

        Raises:
            AnswerPending: it was sent, and nothing has come of it yet.
            AttemptFailed: it failed, or nothing came in time.
            InvalidRequest: the model says that the caller must change the request.
            StoreUnavailable: nobody can say.
        """

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
        """Send the request; what comes of it is found by `find`.

        Raises:
            AttemptFailed: it was not taken, or nobody knows.
            StoreUnavailable: its input could not be written.
        """


def mark_of(job: Job) -> dict[str, Any]:
    """What marks the run of a job."""
    return {"job": job.job_id, "round": job.rounds}


def run_of(context: Mapping[str, Any]) -> AsyncRun | None:
    """The run that a request's context speaks of; None for a caller's own request."""
    mark = context.get(MARK)
    tenant = (context.get("authorizer") or {}).get("tenant")
    if not isinstance(mark, dict) or not isinstance(tenant, str) or not is_id(str(mark.get("job"))):
        return None
    return AsyncRun(tenant, mark["job"], int(mark["round"]))


def job_of_key(key: str) -> tuple[str, str] | None:
    """Tenant and job of an output or a failure; None for a key that does not tell."""
    match = _ARRIVED.fullmatch(key)
    return (match["tenant"], match["job"]) if match and is_id(match["job"]) else None


def dump_sent(sent: Sent) -> bytes:
    """The record as an object."""
    return json.dumps({"output": sent.output_key, "failure": sent.failure_key, "until": sent.until}).encode()


def load_sent(data: bytes) -> Sent:
    """The record that `dump_sent` wrote.

    Raises:
        StoreUnavailable: it is another object.
    """
    try:
        document = json.loads(data)
        return Sent(document["output"], document["failure"], float(document["until"]))
    except (ValueError, KeyError, TypeError):
        raise StoreUnavailable("What was sent cannot be read.") from None
