"""What a window of load says: goodput, latencies of those who were served, and who was turned away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.arithmetic import percentile
from benchmarks.load.endings import OK, ending
from benchmarks.load.shots import Seen


@dataclass(frozen=True, slots=True)
class Window:
    """Requests that were due within some seconds.

    Attributes:
        offered: Requests a second.
        goodput: Answers within the objective a second.
        p50_ms, p99_ms: Of the requests that were served; None where none was.
        endings: Code of each refusal or failure → its share of the requests.
        served: Class of caller → share of its requests that were served within the objective.
        late_ms: p99 of how late the generator was.
    """

    offered: float
    goodput: float
    p50_ms: float | None
    p99_ms: float | None
    endings: dict[str, float]
    served: dict[str, float]
    late_ms: float


def window(seen: Sequence[Seen], *, seconds: float, slo_s: float, caller: Callable[[Seen], str]) -> Window:
    """Sum up a window.

    Args:
        seen: The requests that were due in it.
        seconds: How long it was.
        slo_s: The objective; later answers are no goodput, and count in the percentiles.
        caller: The class of a request's caller.

    Raises:
        ValueError: Nothing was sent.
    """
    if not seen:
        raise ValueError("nothing was sent")
    admitted = [each.seconds * 1000 for each in seen if each.status == OK]
    good = [each for each in seen if each.status == OK and each.seconds <= slo_s]
    endings = Counter(ending(each) for each in seen if each.status != OK)
    sent, served = Counter(map(caller, seen)), Counter(map(caller, good))
    return Window(
        offered=len(seen) / seconds,
        goodput=len(good) / seconds,
        p50_ms=percentile(admitted, 0.5) if admitted else None,
        p99_ms=percentile(admitted, 0.99) if admitted else None,
        endings={code: count / len(seen) for code, count in sorted(endings.items())},
        served={name: served[name] / count for name, count in sorted(sent.items())},
        late_ms=percentile([each.late_s * 1000 for each in seen], 0.99),
    )


def due_in(seen: Sequence[Seen], begin_s: float, end_s: float) -> list[Seen]:
    """The requests that were due in [begin_s, end_s)."""
    return [each for each in seen if begin_s <= each.shot.at_s < end_s]


def settled_after_s(seen: Sequence[Seen], *, begin_s: float, end_s: float, slo_s: float) -> int | None:
    """Whole seconds after `begin_s` to the first one of which, as of all until `end_s`, the served keep the objective.

    By their p99. None: not even in the last second.
    """
    admitted = [(each.shot.at_s, each.seconds) for each in due_in(seen, begin_s, end_s) if each.status == OK]
    for second in range(int(end_s - begin_s)):
        left = [(at_s, seconds) for at_s, seconds in admitted if at_s >= begin_s + second]
        then = [seconds for at_s, seconds in left if at_s < begin_s + second + 1]
        parts = (then, [seconds for _, seconds in left])
        if then and all(percentile(part, 0.99) <= slo_s for part in parts):
            return second
    return None


def served_again_after_s(seen: Sequence[Seen], *, begin_s: float, end_s: float, share: float) -> int | None:
    """Whole seconds after `begin_s` to the first one of which, as of all that comes until `end_s`, `share` is served.

    None: not even in the last second.
    """
    for second in range(int(end_s - begin_s)):
        then = due_in(seen, begin_s + second, begin_s + second + 1)
        left = due_in(seen, begin_s + second, end_s)
        if then and all(sum(each.status == OK for each in part) >= share * len(part) for part in (then, left)):
            return second
    return None
