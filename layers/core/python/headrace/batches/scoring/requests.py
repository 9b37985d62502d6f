"""The requests of one run: which records travel together, when each leaves, and what its end means for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from heapq import heappop, heappush
from typing import Any, Literal, Protocol

from headrace.batches.reading.records import Bad, Record
from headrace.batches.scoring.answering import error_line, result_lines
from headrace.batches.scoring.asking import Ask, LoadImage, ask_of, bad, needs_loading
from headrace.batches.scoring.fates import Again, Failed, Hold, Split, fate_of
from headrace.batches.scoring.pace import Pace
from headrace.batches.scoring.posing import REQUEST_BYTES_MAX, Poser
from headrace.batches.scoring.window import Entry, Window
from headrace.batches.states import Batch
from headrace.errors import HeadraceError, InvalidAnswer, InvalidRequest
from headrace.invocation.policy import Answer, Invocation

LOADS_MAX = 8
"""Objects that are read at once."""
DUPLICATE = "An earlier line has this custom_id: the first one counts."


class Asker(Protocol):
    """What asks, and does what blocks; each thing under a number of the caller's."""

    def ask(self, number: int, invocation: Invocation[list[Any]]) -> None:
        """Begin to ask; its end is an `Answer`, or what the policy raised."""

    def fetch(self, number: int, call: Callable[[], Any], /) -> None:
        """Begin a call that blocks; its end is what it returned, or raised."""

    def ended(self, *, wait_s: float) -> list[tuple[int, Any]]:
        """What has ended, an exception as a value; waits for so long when nothing has."""


class Requests:
    """See the module. `pace` says how many may leave; it learns from every end."""

    def __init__(
        self,
        batch: Batch,
        *,
        poser: Poser,
        asker: Asker,
        window: Window,
        pace: Pace,
        load: LoadImage,
        duplicates: frozenset[int],
        numbers: Iterator[int],
        clock: Callable[[], float],
        uniform: Callable[[], float],
    ) -> None:
        self.pace = pace
        self._batch, self._poser, self._asker, self._window = batch, poser, asker, window
        self._load, self._duplicates, self._numbers = load, duplicates, numbers
        self._clock, self._uniform = clock, uniform
        self._ready: deque[Entry] = deque()
        self._again: list[tuple[float, int, list[Entry]]] = []
        self._asked: dict[int, tuple[list[Entry], float]] = {}
        self._loading: dict[int, Entry] = {}

    @property
    def in_flight(self) -> int:
        """Requests, and objects that are read, which have not ended."""
        return len(self._asked) + len(self._loading)

    @property
    def wants_more(self) -> bool:
        """Whether records should be read ahead: enough for the requests that may leave next."""
        wanted = (int(self.pace.limit) + 1) * self.pace.items
        return len(self._ready) < wanted and len(self._loading) < LOADS_MAX and not self._window.full

    def add(self, record: Record | Bad) -> None:
        """A record was read."""
        entry = Entry(record)
        self._window.add(entry)
        if isinstance(record, Bad):
            self._fail(entry, record)
        elif record.line in self._duplicates:
            code = "duplicate_custom_id"
            self._fail(entry, Bad(record.line, record.end, record.custom_id, code, DUPLICATE, "custom_id"))
        elif needs_loading(record, endpoint=self._poser.endpoint):
            self._start_loading(entry, record)
        else:
            self._prepared(entry, self._ask_of(record))

    def send(self, now: float) -> None:
        """Let leave what may."""
        while self._due(now) and self.pace.room(len(self._asked), now=now) > 0:
            group = self._group(now)
            if not group:
                return
            asks, attempts = _asks(group), max(entry.attempts for entry in group)
            try:
                invocation = self._poser.invocation(asks, attempts=attempts)
            except HeadraceError as error:
                self._judge(group, error, now)
                continue
            number = next(self._numbers)
            self._asked[number] = (group, now)
            self._asker.ask(number, invocation)

    def patience(self, now: float, *, wait_s: float) -> float:
        """How long nothing but an end can let more leave: at most `wait_s`, 0 when some may leave now."""
        if self._due(now) and self.pace.room(len(self._asked), now=now):
            return 0.0
        until = now + wait_s
        if self._again and self._again[0][0] > now:
            until = min(until, self._again[0][0])
        if self._due(now) and self.pace.again_at(now=now) > now:
            until = min(until, self.pace.again_at(now=now))
        return until - now

    def settle(self, number: int, outcome: Any, *, now: float) -> None:
        """Something has ended."""
        entry = self._loading.pop(number, None)
        if entry is None:
            group, since = self._asked.pop(number)
            if isinstance(outcome, Answer):
                self._answered(group, outcome, seconds=now - since, now=now)
            else:
                self._judge(group, outcome, now)
        elif isinstance(outcome, Exception):
            self._judge([entry], outcome, now)
        else:
            self._prepared(entry, outcome)

    def _due(self, now: float) -> bool:
        return bool(self._ready) or bool(self._again and self._again[0][0] <= now)

    def _ask_of(self, record: Record) -> Ask | Bad:
        try:
            return ask_of(record, endpoint=self._poser.endpoint, options=self._batch.options, image=self._load)
        except HeadraceError:
            raise
        except Exception:  # noqa: BLE001 - a mistake of ours costs this record, not its shard for ever
            return bad(record, InvalidRequest("The record cannot be read.", code="record_unreadable"))

    def _start_loading(self, entry: Entry, record: Record) -> None:
        number = next(self._numbers)
        self._loading[number] = entry
        self._asker.fetch(number, partial(self._ask_of, record))

    def _prepared(self, entry: Entry, ask: Ask | Bad) -> None:
        if isinstance(ask, Bad):
            self._fail(entry, ask)
            return
        entry.ask, entry.record = ask, None  # what is asked is held once
        self._window.grew(entry, ask.size)
        self._ready.append(entry)

    def _group(self, now: float) -> list[Entry]:
        """The records of the next request, those that are asked again first; none when an object must be read first."""
        items_max = self.pace.items_at(now)
        if self._again and self._again[0][0] <= now:
            at, _, group = heappop(self._again)
            if isinstance(group[0].record, Record):
                self._start_loading(group[0], group[0].record)
                return []
            taken = _taken(group, items_max)
            if len(taken) < len(group):
                heappush(self._again, (at, next(self._numbers), group[len(taken) :]))
            return taken
        taken = _taken(self._ready, items_max)
        for _ in taken:
            self._ready.popleft()
        return taken

    def _answered(self, group: list[Entry], answer: Answer[list[Any]], *, seconds: float, now: float) -> None:
        asks = _asks(group)
        try:
            lines = result_lines(
                asks,
                answer.value,
                endpoint=self._poser.endpoint,
                served_by=answer.served_by,
                degraded=answer.degraded,
                batch_id=self._batch.batch_id,
            )
        except Exception:  # noqa: BLE001 - as above: the same answer would end every run of the shard
            self._judge(group, InvalidAnswer("The answer cannot be written as a line."), now)
            return
        kind: Literal["result", "degraded"] = "degraded" if answer.degraded else "result"
        for entry, line in zip(group, lines, strict=True):
            entry.kind, entry.text, entry.ask = kind, line, None
            self._window.grew(entry, len(line))
        if not answer.degraded:
            items = sum(ask.items for ask in asks)
            self.pace = self.pace.answered(seconds, items=items, in_flight=len(self._asked) + 1, now=now)

    def _judge(self, group: list[Entry], error: Exception, now: float) -> None:
        attempts = max(entry.attempts for entry in group)
        match fate_of(error, records=len(group), attempts=attempts, chance=self._uniform()):
            case Failed(found):
                for entry in group:
                    self._fail(entry, bad(_named(entry), found))
            case Split(alone, wait_s, attempts):
                size = 1 if alone else (len(group) + 1) // 2
                for start in range(0, len(group), size):
                    self._later(group[start : start + size], now + wait_s, attempts)
            case Again(wait_s, attempts):
                self._later(group, now + wait_s, attempts)
            case Hold(why, wait_s):
                self.pace = self.pace.refused(why, retry_after_s=wait_s, now=now)
                self._later(group, now, attempts)

    def _later(self, group: list[Entry], at: float, attempts: int) -> None:
        for entry in group:
            entry.attempts = attempts
        heappush(self._again, (at, next(self._numbers), group))

    def _fail(self, entry: Entry, found: Bad) -> None:
        entry.kind, entry.text = "error", error_line(found, batch_id=self._batch.batch_id)
        entry.ask = entry.record = None
        self._window.grew(entry, len(entry.text))


def _asks(group: list[Entry]) -> list[Ask]:
    return [entry.ask for entry in group if entry.ask is not None]


def _named(entry: Entry) -> Record | Bad:
    """Whose error it is."""
    ask = entry.ask
    if ask is not None:
        return Bad(ask.line, entry.end, ask.custom_id, "", "")
    if entry.record is None:
        raise AssertionError("A record that is over cannot fail.")
    return entry.record


def _taken(entries: deque[Entry] | list[Entry], items_max: int) -> list[Entry]:
    """The first records that fit into one request, one at least."""
    taken: list[Entry] = []
    items = size = 0
    for entry in entries:
        ask = entry.ask
        if ask is None:
            break
        items, size = items + ask.items, size + ask.size
        if taken and (items > items_max or size > REQUEST_BYTES_MAX or ask.request is not None):
            break
        taken.append(entry)
        if ask.request is not None:
            break
    return taken
