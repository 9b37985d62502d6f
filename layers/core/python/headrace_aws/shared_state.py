"""The state that functions share, wired: one table, one background, and what is decided from them.

Everything here is one per process and lives as long as it. A process is told from others by a random name, made when it
is first needed: a snapshot that many environments start from must not give them all the same.
"""

from __future__ import annotations

import secrets
import time
from functools import cache, cached_property
from random import SystemRandom
from threading import Lock
from typing import TYPE_CHECKING

from headrace.admission.gate import Admission
from headrace.cache.answers import AnswerCache
from headrace.health.health import Health
from headrace.invocation.policy import Policy
from headrace.routing.held import HeldRouting
from headrace_aws.admission_tables import BudgetsTable, RatesTable, SlotsTable
from headrace_aws.background import BackgroundThreads
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.cache_table import CacheTable
from headrace_aws.health_table import HealthTable
from headrace_aws.pepper import read_pepper
from headrace_aws.routing_table import RoutingTable
from headrace_aws.state_table import StateTable

if TYPE_CHECKING:
    from headrace.batches.ordering.offers import Batches
    from headrace.catalog import Catalog
    from headrace.idempotency.keys import Idempotency
    from headrace.jobs.offers import Jobs
    from headrace.rollouts.recorder import Recorder

HOLDER_BYTES = 8
PATIENT_CALL_TIMEOUT_S = 3.0
"""For what is larger than an inference's own reads, or cannot be answered without the store: files, batches, jobs, and
requests under an Idempotency-Key. Their callers would rather wait than send it all again."""


class SharedState:
    """What functions keep in the table `table`; the secret `pepper_secret` keeps tenants apart in the cache.

    Who caches no answers needs no secret.
    """

    def __init__(self, *, table: str, pepper_secret: str = "") -> None:
        self._table = StateTable(table)
        self._patient = StateTable(table, timeout_s=PATIENT_CALL_TIMEOUT_S)
        self._caches = bool(pepper_secret)
        self._pepper = cache(lambda: read_pepper(pepper_secret))
        # The system's generator has no state that a snapshot could copy.
        self._uniform = SystemRandom().random

    def warm(self) -> None:
        """Make what the first request would have to make."""
        self._table.warm()
        if self._caches:
            self._pepper()

    def take_failures(self) -> int:
        """How many calls of the table have failed since this was asked last."""
        return self._table.take_failures() + self._patient.take_failures()

    @cached_property
    def background(self) -> BackgroundThreads:
        """What does this process's work beside its requests."""
        return BackgroundThreads()

    @cached_property
    def routing(self) -> HeldRouting:
        """The routing documents as this process holds them."""
        return HeldRouting(RoutingTable(self._table), self.background, time.time, Lock())

    @cached_property
    def recorder(self) -> Recorder:
        """What this process counts for rollouts and experiments. The pepper is never waited for: see `warm`."""
        from headrace.rollouts.recorder import Recorder  # noqa: PLC0415 - only while versions are compared
        from headrace_aws.tallies_table import TalliesTable  # noqa: PLC0415

        return Recorder(
            tallies=TalliesTable(self._table, wall=time.time),
            background=self.background,
            wall=time.time,
            pepper=lambda: self._pepper() if self._pepper.cache_info().currsize else None,
            holder=secrets.token_hex(HOLDER_BYTES),
            lock=Lock(),
        )

    @cached_property
    def policy(self) -> Policy:
        """The invocation policy of this process."""
        background = self.background
        holder = secrets.token_hex(HOLDER_BYTES)
        return Policy(
            admission=Admission(
                rates=RatesTable(self._table),
                slots=SlotsTable(self._table),
                budgets=BudgetsTable(self._table),
                background=background,
                wall=time.time,
                holder=holder,
                lock=Lock(),
            ),
            health=Health(
                store=HealthTable(self._table),
                background=background,
                wall=time.time,
                uniform=self._uniform,
                lock=Lock(),
            ),
            cache=AnswerCache(
                store=CacheTable(self._table),
                background=background,
                wall=time.time,
                uniform=self._uniform,
                secret=self._pepper,
                holder=holder,
                guard=Lock(),
            ),
            clock=time.monotonic,
            wall=time.time,
            uniform=self._uniform,
        )

    @cached_property
    def idempotency(self) -> Idempotency:
        """Requests that carry an Idempotency-Key."""
        from headrace.idempotency.keys import Idempotency  # noqa: PLC0415 - few requests do, and a cold start is not theirs
        from headrace_aws.idempotency_table import IdempotencyTable  # noqa: PLC0415

        return Idempotency(
            store=IdempotencyTable(self._patient), wall=time.time, token=lambda: secrets.token_hex(HOLDER_BYTES)
        )

    def jobs(self, *, bucket: str, queue: str, loopback: bool = False) -> Jobs:
        """Requests that are answered later."""
        from headrace.jobs.offers import Jobs  # noqa: PLC0415 - as above
        from headrace_aws.jobs_bucket import JobsBucket  # noqa: PLC0415
        from headrace_aws.jobs_queue import JobsQueue  # noqa: PLC0415
        from headrace_aws.jobs_table import JobsTable  # noqa: PLC0415

        records = JobsTable(self._patient)
        return Jobs(
            records=records,
            lists=records,
            objects=JobsBucket(bucket, calls=BoundedCalls()),
            queue=JobsQueue(queue, calls=BoundedCalls()),
            places=SlotsTable(self._patient),
            wall=time.time,
            sleep=time.sleep,
            random_bytes=secrets.token_bytes,
            loopback=loopback,
        )

    def batches(
        self, *, bucket: str, inputs: str, kms_key: str, machine: str, prefix: str, catalog: Catalog, loopback: bool
    ) -> Batches:
        """Files and the work on them.

        `bucket` is the batches' own, `inputs` where files go, `machine` an ARN; `prefix` begins the stage's names.
        """
        from headrace.batches.ordering.offers import Batches  # noqa: PLC0415 - as above
        from headrace.files.uploading import Files  # noqa: PLC0415
        from headrace_aws.batches_bucket import BatchesBucket  # noqa: PLC0415
        from headrace_aws.batches_table import BatchesTable  # noqa: PLC0415
        from headrace_aws.files_table import FilesTable  # noqa: PLC0415
        from headrace_aws.state_machine import Machine  # noqa: PLC0415
        from headrace_aws.transform_jobs import TransformJobsOfBatches  # noqa: PLC0415
        from headrace_aws.uploads import Uploads  # noqa: PLC0415

        files, records = FilesTable(self._patient), BatchesTable(self._patient)
        uploads = Uploads(inputs, calls=BoundedCalls(), kms_key=kms_key)
        return Batches(
            files=Files(
                bucket=inputs,
                records=files,
                lists=files,
                door=uploads,
                contents=uploads,
                wall=time.time,
                random_bytes=secrets.token_bytes,
            ),
            records=records,
            lists=records,
            progresses=records,
            objects=BatchesBucket(bucket, calls=BoundedCalls()),
            machine=Machine(machine, calls=BoundedCalls()),
            catalog=catalog,
            wall=time.time,
            random_bytes=secrets.token_bytes,
            loopback=loopback,
            transforms=TransformJobsOfBatches(prefix, calls=BoundedCalls()),
        )
