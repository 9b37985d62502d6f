"""One run over a shard: read ahead, ask as the pace allows, settle what ended, write parts.

It runs in one thread; whatever blocks for long is handed to the `Asker`, which tells when it has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Protocol

from headrace.batches.bounds import WAIT_MAX_S, WAIT_MIN_S
from headrace.batches.layout import Shard
from headrace.batches.reading.records import Bad, Record
from headrace.batches.scoring.pace import Pace
from headrace.batches.scoring.part_writer import PartWriter
from headrace.batches.scoring.parts import Chain
from headrace.batches.scoring.posing import Poser
from headrace.batches.scoring.requests import Asker, Requests
from headrace.batches.scoring.window import Window
from headrace.batches.states import OVER, Batch
from headrace.batches.storage import ShardProgress
from headrace.errors import StoreUnavailable

if TYPE_CHECKING:
    from headrace.batches.scoring.scorer import Scorer, State

LOOK_S = 0.25
"""How often it is looked for callers who wait."""
CHECK_S = 5.0
"""How often, at least, the batch's record is looked at, and progress noted."""
HELD_S = 10.0
"""A pause that lasts longer is spent without a function."""
WAIT_S = 0.25
"""The longest wait for an end in one go."""
WAIT_SPREAD = 0.1


class Traffic(Protocol):
    """What is known of callers who wait; `headrace.health.Health` is one."""

    def arrivals_above(self, endpoint: str, tier: int, *, tier_max: int) -> float:
        """Requests per second of higher tiers."""

    def admitted_share(self, endpoint: str, tier: int) -> float:
        """The share of a tier's requests that is let in."""


class Run:
    """See the module. `scorer` holds the ports."""

    def __init__(
        self,
        scorer: Scorer,
        batch: Batch,
        shard: Shard,
        chain: Chain,
        *,
        records: Iterator[Record | Bad],
        poser: Poser,
        asker: Asker,
        pace: Pace,
        duplicates: frozenset[int],
        until: float,
    ) -> None:
        self._scorer, self._batch, self._shard = scorer, batch, shard
        self._records, self._poser, self._asker, self._until = records, poser, asker, until
        self._clock = scorer.clock
        now, numbers = self._clock(), count()
        self._window = Window(at=chain.at, line=chain.line)
        self._requests = Requests(
            batch,
            poser=poser,
            asker=asker,
            window=self._window,
            pace=pace,
            load=scorer.images(batch.tenant, poser.endpoint),
            duplicates=duplicates,
            numbers=numbers,
            clock=scorer.clock,
            uniform=scorer.uniform,
        )
        self._writer = PartWriter(
            scorer.store,
            tenant=batch.tenant,
            batch_id=batch.batch_id,
            shard=shard,
            chain=chain,
            window=self._window,
            fetch=asker.fetch,
            numbers=numbers,
            now=now,
        )
        self._tier, self._tier_max = poser.tiers.index(poser.plan.tier), len(poser.tiers) - 1
        self._exhausted = self._dead = False
        self._ending: State | None = None
        self._looked_at = float("-inf")
        self._checked_at = now
        self._held_since: float | None = None

    @property
    def pace(self) -> Pace:
        """The pace as it is now."""
        return self._requests.pace

    def go(self) -> tuple[State, int, int]:
        """Until the run is over: how, how long to wait, and the byte to go on at.

        Raises:
            Overtaken: somebody else wrote the next part.
            StoreUnavailable: the file cannot be read, or a part cannot be written.
        """
        while True:
            now = self._clock()
            self._look(now)
            if self._ending is None:
                self._requests.send(now)
                self._read()
            for number, outcome in self._asker.ended(wait_s=self._patience()):
                self._settle(number, outcome)
            self._window.collect()
            if not self._write() and self._is_over():
                state: State = "done" if self._writer.at >= self._shard.end else self._ending or "more"
                self._note(self.pace.why if state == "paused" else "")
                return state, self._wait_s() if state == "paused" else 0, self._writer.at

    def _read(self) -> None:
        while not self._exhausted and self._requests.wants_more:
            record = next(self._records, None)
            if record is None:
                self._exhausted = True
            else:
                self._requests.add(record)

    def _settle(self, number: int, outcome: object) -> None:
        now = self._clock()
        if not self._writer.settle(number, outcome, now=now):
            self._requests.settle(number, outcome, now=now)
        elif not self._writer.busy:
            self._check(now)

    def _write(self) -> bool:
        if self._dead:
            return False
        whole = self._exhausted and not self._window.waiting
        ending = self._ending is not None and not self._requests.in_flight
        return self._writer.advance(self._clock(), whole=whole, ending=ending)

    def _is_over(self) -> bool:
        if self._requests.in_flight or (self._writer.busy and not self._dead):
            return False
        if self._ending is not None:
            return self._dead or not self._window.part_records
        return self._writer.at >= self._shard.end

    def _patience(self) -> float:
        if self._ending is not None:
            return WAIT_S if self._requests.in_flight or self._writer.busy else 0.0
        if self._exhausted and not self._window.waiting and not self._writer.busy:
            return 0.0
        return self._requests.patience(self._clock(), wait_s=WAIT_S)

    # -- the world around ---------------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Whether callers wait, whether the batch goes on, and whether there is time."""
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            name, traffic = self._poser.endpoint.name, self._scorer.traffic
            self._requests.pace = self.pace.looked(
                callers_per_s=traffic.arrivals_above(name, self._tier, tier_max=self._tier_max),
                admitted=traffic.admitted_share(name, self._tier),
                now=now,
            )
        if now - self._checked_at >= CHECK_S:
            self._check(now)
        held = bool(self.pace.why)  # until something is answered: one refusal after the other is one long pause
        self._held_since = (now if self._held_since is None else self._held_since) if held else None
        if self._ending is not None:
            return
        if now >= self._until:
            self._ending = "paused" if held else "more"
        elif self._held_since is not None and now - self._held_since >= HELD_S:
            self._ending = "paused"

    def _check(self, now: float) -> None:
        """Whether the batch is to end; and a word on how far this shard is."""
        self._checked_at = now
        with suppress(StoreUnavailable):  # it is asked again soon
            batch = self._scorer.records.get(self._batch.tenant, self._batch.batch_id)
            if batch is None or self._scorer.must_stop(batch):
                self._ending = "stopped"
                # What is over has been counted: a scorer that comes late adds nothing to it.
                self._dead = batch is None or batch.state in OVER
        self._note(self.pace.why if self.pace.paused(now) else "")

    def _note(self, paused: str) -> None:
        at = self._writer.at
        progress = ShardProgress(
            self._shard.number, at, self._writer.counts, done=at >= self._shard.end, paused=paused
        )  # fmt: skip
        with suppress(StoreUnavailable):  # parts say the same, and are what counts
            self._scorer.progress.note(self._batch.tenant, self._batch.batch_id, progress)

    def _wait_s(self) -> int:
        left_s = self.pace.paused_until - self._clock()
        return round(min(WAIT_MAX_S, max(WAIT_MIN_S, left_s)) * (1.0 + WAIT_SPREAD * self._scorer.uniform()))
