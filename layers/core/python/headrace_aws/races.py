"""A call and its hedge as threads: who answers well first counts.

Source: Dean and Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013: hedged requests.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from time import monotonic

from headrace.errors import AttemptFailed, AttemptTimedOut, HeadraceError, TargetFaulted
from headrace.inference import InferenceResponse
from headrace.invocation.steps import Outcome, Outcomes, Target

Start = Callable[[float], "Future[InferenceResponse]"]
"""Begins a call that may take so many seconds."""


def race(
    start: Start,
    *,
    target: Target,
    timeout_s: float,
    after_s: float,
    may_start: Callable[[], bool],
    failure_of: Callable[[Exception], HeadraceError],
) -> Outcomes:
    """The outcomes of one call or of two, the one that counts first.

    Args:
        start: begins a call.
        target: who is asked.
        timeout_s: for the whole.
        after_s: when the second call may begin.
        may_start: asked then, once, and only when the first has not ended.
        failure_of: a transport's error as one of the domain.

    Raises:
        InvalidRequest: the model says that the caller must change the request.
        TargetUnavailable: the first call could not even begin.
    """
    began_s = monotonic()
    first = start(timeout_s)
    try:
        first.exception(min(after_s, timeout_s))
    except FutureTimeout:
        pass  # seldom: from here on there may be two
    else:
        return (_ended(first, target, monotonic() - began_s, failure_of, second=False),)
    calls: dict[Future[InferenceResponse], bool] = {first: False}
    left_s = timeout_s - (monotonic() - began_s)
    if left_s > 0 and may_start():
        with suppress(AttemptFailed):  # no thread is free: the first goes on alone, and the permit is not used
            calls[start(left_s)] = True
    ended: list[Outcome] = []
    waiting = set(calls)
    while waiting and not any(outcome.response is not None for outcome in ended):
        left_s = timeout_s - (monotonic() - began_s)
        done, waiting = wait(waiting, timeout=max(0.0, left_s), return_when=FIRST_COMPLETED)
        if not done:
            break
        ended += [_ended(call, target, monotonic() - began_s, failure_of, second=calls[call]) for call in done]
    won = any(outcome.response is not None for outcome in ended)
    seconds = monotonic() - began_s
    for call in waiting:
        call.cancel()
        late = None if won else AttemptTimedOut("The endpoint did not answer in time.")
        ended.append(Outcome(target, seconds, failure=late, cancelled=won, second=calls[call]))
    return tuple(sorted(ended, key=lambda outcome: outcome.response is None))


def _ended(
    call: Future[InferenceResponse],
    target: Target,
    seconds: float,
    failure_of: Callable[[Exception], HeadraceError],
    *,
    second: bool,
) -> Outcome:
    error = call.exception()
    if error is None:
        return Outcome(target, seconds, response=call.result(), second=second)
    if not isinstance(error, HeadraceError):
        error = failure_of(error) if isinstance(error, Exception) else TargetFaulted("The call was cut short.")
    if not isinstance(error, AttemptFailed):
        raise error
    return Outcome(target, seconds, failure=error, second=second)
