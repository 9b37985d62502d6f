"""Who is yet to be marked: a caller counts once for each thing that it met, in whatever process.

`Mark.asked` says once in what: a stage, or the whole rollout.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass

from headrace.rollouts.seen import Place
from headrace.rollouts.states import CANARY

WAITING_MAX = 512
"""Marks that wait for the store; beyond that they are dropped: evidence is lost, no request waits."""
KNOWN_MAX = 8_192
"""Callers whose marks are remembered, so that they are not asked for again."""
EXPOSED = "exposed"
"""What a caller is marked with when it is counted as a caller."""
OUTCOME_PREFIX = "outcome."
"""Before the name of an outcome."""
ANY_STAGE = 0
"""Where what counts once in a rollout is marked, whichever stage it happened in."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One question to the store: is this the first time that this caller meets this here?

    Args:
        place: where it counts.
        what: a metric's name, `EXPOSED`, or `OUTCOME_PREFIX` and a name.
        caller: the caller's hash.
        holder: of this question alone, and the same when it is repeated: an answer that was lost is had again, and
            a later question about the same caller is not taken for it.
        value: of an outcome.
    """

    place: Place
    what: str
    caller: str
    holder: str
    value: float = 0.0

    @property
    def asked(self) -> tuple[int, str]:
        """The stage and the name that the store is asked by.

        Callers of the control count anew in each stage. The canary's, who stay with it, count once in the rollout, and
        so does an outcome, or the evidence would be no fair game: `headrace.rollouts.evidence` says why.
        """
        if self.what.startswith(OUTCOME_PREFIX):
            return ANY_STAGE, self.what
        if self.place.arm == CANARY and self.what != EXPOSED:
            return ANY_STAGE, f"{self.what}.{CANARY}"
        return self.place.stage, self.what


class Marks:
    """The questions of one process, of which it remembers `known_max`. Not safe for threads: whoever owns it locks."""

    def __init__(self, holder: str, *, known_max: int = KNOWN_MAX) -> None:
        self._holder = holder
        self._known_max = known_max
        self._asked = 0
        self._waiting: deque[Mark] = deque()
        self._known: OrderedDict[tuple[str, int, str, str], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def new(self, place: Place, what: str, caller: str, *, value: float = 0.0) -> Mark | None:
        """A question that has not been asked of late, remembered as asked; None otherwise."""
        name = (place.subject, place.stage, what, caller)
        if name in self._known:
            self._known.move_to_end(name)
            return None
        self._known[name] = None
        if len(self._known) > self._known_max:
            self._known.popitem(last=False)
        self._asked += 1
        return Mark(place, what, caller, f"{self._holder}.{self._asked}", value)

    def wait(self, mark: Mark, *, first: bool = False) -> bool:
        """Have a question wait for the store, before all others or behind them; False when too many wait."""
        if len(self._waiting) >= WAITING_MAX:
            # Not asked: the next time that this caller meets it, it may be.
            self._known.pop((mark.place.subject, mark.place.stage, mark.what, mark.caller), None)
            return False
        if first:
            self._waiting.appendleft(mark)
        else:
            self._waiting.append(mark)
        return True

    def take(self) -> Mark | None:
        """The question that has waited longest, taken from the queue."""
        return self._waiting.popleft() if self._waiting else None
