"""Counts what the versions side by side did, beside the requests: nothing here makes one wait.

Each process keeps its own counts by subject, stage and arm, and overwrites its own items in the store with the totals
so far: at most once a second, and at once when a caller meets a bad event for the first time. Whatever becomes of a
write, and however often it is repeated, nothing is counted twice. Callers are marked in the store, so that each counts
once for each thing it met (`Mark.asked`); a mark is asked for in the background, and counted when the store says that
it was the first. A process that dies takes with it what it had not written yet: counts may miss events, never invent
them.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, cast

from headrace.background import Background
from headrace.errors import HeadraceError, StoreUnavailable
from headrace.rollouts.arm_counts import ArmCounts
from headrace.rollouts.marks import EXPOSED, KNOWN_MAX, OUTCOME_PREFIX, Mark, Marks
from headrace.rollouts.metrics import Metric
from headrace.rollouts.seen import Place, Seen

if TYPE_CHECKING:
    from headrace.rollouts.store import Tallies

FLUSH_EVERY_S = 1.0
"""Between two writes, and before the next one after a write that failed."""
MARKS_AT_ONCE = 64
"""Marks asked for between two writes of counts."""
ARMS_KEPT_MAX = 64
"""Subjects, stages and arms together; the ones not counted in for the longest are forgotten once they are written."""
CALLER_SAMPLE = 8
"""One caller in so many is counted as a caller, by its hash: enough to check how callers are divided."""
CALLER_BYTES = 16
_PURPOSE = b"headrace-caller\0"


def caller_key(pepper: bytes) -> bytes:
    """The key under which callers are hashed, of this purpose alone."""
    return hmac.digest(pepper, _PURPOSE, "sha256")


def caller_hash(key: bytes, subject: str, unit: str) -> str:
    """Who a caller is within one subject: not who it is, and another one within another subject."""
    text = f"{subject}\0{unit}".encode("utf-8", "surrogatepass")
    return blake2b(text, key=key, digest_size=CALLER_BYTES).hexdigest()


def in_sample(caller: str) -> bool:
    """Whether this caller is one of those that are counted as callers."""
    return int(caller[:8], 16) % CALLER_SAMPLE == 0


class Recorder:
    """See the module. One per process.

    Args:
        tallies: where counts and marks are.
        background: runs what no request waits for.
        wall: seconds since the epoch.
        pepper: the platform's secret, or None while it is not at hand: callers are not marked then.
        holder: names this process among all.
        lock: held for microseconds, never around a call of the store; `threading.Lock()` where the background runs on
            threads.
        known_max: callers whose marks are remembered.
    """

    def __init__(
        self,
        *,
        tallies: Tallies,
        background: Background,
        wall: Callable[[], float],
        pepper: Callable[[], bytes | None],
        holder: str,
        lock: AbstractContextManager[Any] | None = None,
        known_max: int = KNOWN_MAX,
    ) -> None:
        self._tallies = tallies
        self._background = background
        self.wall = wall
        self.pepper = pepper
        self._key = b""
        self._holder = holder
        self._lock = lock if lock is not None else nullcontext()
        self._marks = Marks(holder, known_max=known_max)
        self._arms: OrderedDict[Place, ArmCounts] = OrderedDict()
        self._made = 0
        self._busy = self._again = False
        self._due = self._rest_until = 0.0

    def caller(self, subject: str, unit: str) -> str:
        """The hash of what a draw sticks to; empty while the pepper is not at hand."""
        if not self._key:
            pepper = self.pepper()
            if pepper is None:
                return ""
            self._key = caller_key(pepper)
        return caller_hash(self._key, subject, unit)

    def record(self, place: Place, seen: Seen, *, caller: str) -> None:
        """Count one request. Never raises, never waits.

        Args:
            place: where it counts.
            seen: what it says.
            caller: as `Recorder.caller` has it; an empty one is not marked.
        """
        now = self.wall()
        urgent = False
        with self._lock:
            self._arm(place).see(seen)
            if caller:
                for metric in seen.bad:
                    urgent = self._ask(place, metric, caller) or urgent
                if place.everybody or in_sample(caller):
                    self._ask(place, EXPOSED, caller)
            elif seen.bad:
                urgent = True
        self._nudge(now, urgent=urgent)

    def outcome(self, place: Place, *, caller: str, name: str, value: float) -> None:
        """Count an event that a caller posts back, once per caller and name. Waits for the store; `flush` afterwards.

        Raises:
            StoreUnavailable: perhaps counted, perhaps not; sent again, it is still counted once.
        """
        with self._lock:
            mark = self._marks.new(place, OUTCOME_PREFIX + name, caller, value=value)
        if mark is not None and not self._answered(mark):
            raise StoreUnavailable("The outcome could not be counted now: send it again in a moment.")

    def flush(self) -> None:
        """Ask for the marks that wait, and write what was counted. The background's task; never raises."""
        with self._lock:
            if self._busy:  # whoever is at it goes on with this
                self._again = True
                return
            self._busy = True
        self._work()

    # -- beside the requests ------------------------------------------------------------------------------------------

    def _nudge(self, now: float, *, urgent: bool) -> None:
        with self._lock:
            if self._busy:
                self._again = self._again or urgent
                return
            if _is_soon(self._rest_until, now) or (not urgent and _is_soon(self._due, now)):
                return
            self._busy = True
            self._due = now + FLUSH_EVERY_S
        if not self._background.submit(self._work):
            with self._lock:
                self._busy = False
                self._due = 0.0  # the next request tries again

    def _work(self) -> None:
        """What `_busy` keeps to one thread at a time: an older total must not overwrite a newer one."""
        done = False
        try:
            while not done:
                well = self._ask_marks() and self._write()
                now = self.wall()
                with self._lock:
                    if not well:
                        self._rest_until = now + FLUSH_EVERY_S
                    if len(self._marks):
                        self._due = 0.0
                    done = not well or not self._again
                    self._again = False
                    self._busy = not done
        finally:
            if not done:
                with self._lock:
                    self._busy = False

    def _ask_marks(self) -> bool:
        """Ask for some of the marks that wait; False when the store does not answer."""
        for _ in range(MARKS_AT_ONCE):
            with self._lock:
                mark = self._marks.take()
            if mark is None:
                return True
            if not self._answered(mark):
                return False
        return True

    def _answered(self, mark: Mark) -> bool:
        """Ask for a mark and count it if it is the first; where there is no answer, it waits, and False is returned."""
        place = mark.place
        try:
            stage, what = mark.asked
            first = self._tallies.mark(place.subject, stage=stage, what=what, caller=mark.caller, holder=mark.holder)
        except HeadraceError:
            with self._lock:
                self._marks.wait(mark, first=True)
            return False
        if first:
            with self._lock:
                arm = self._arm(place)
                if mark.what == EXPOSED:
                    arm.expose()
                elif mark.what.startswith(OUTCOME_PREFIX):
                    arm.take(mark.what.removeprefix(OUTCOME_PREFIX), mark.value)
                else:
                    arm.meet(cast("Metric", mark.what))
        return True

    def _write(self) -> bool:
        """Write what has changed; False when the store does not answer."""
        with self._lock:
            dirty = [place for place, arm in self._arms.items() if arm.dirty]
        for place in dirty:
            with self._lock:
                arm = self._arms.get(place)
                if arm is None:
                    continue
                counted, arm.dirty = arm.counted(), False
            try:
                self._tallies.write(place.subject, stage=place.stage, arm=place.arm, holder=arm.holder, counted=counted)
            except HeadraceError:
                with self._lock:
                    arm.dirty = True
                return False
        return True

    # -- under the lock -----------------------------------------------------------------------------------------------

    def _ask(self, place: Place, what: str, caller: str) -> bool:
        mark = self._marks.new(place, what, caller)
        return mark is not None and self._marks.wait(mark)

    def _arm(self, place: Place) -> ArmCounts:
        arm = self._arms.get(place)
        if arm is None:
            # Under a name of its own: one that was forgotten and comes back must not overwrite what it wrote before.
            self._made += 1
            arm = self._arms[place] = ArmCounts(f"{self._holder}.{self._made}")
            if len(self._arms) > ARMS_KEPT_MAX:
                idle = (each for each, counts in self._arms.items() if not counts.dirty and each != place)
                self._arms.pop(next(idle, next(iter(self._arms))))
        else:
            self._arms.move_to_end(place)
        return arm


def _is_soon(due: float, now: float) -> bool:
    """Whether it is worth waiting for; what seems further away is of a clock that was set back since."""
    return 0.0 < due - now <= FLUSH_EVERY_S
