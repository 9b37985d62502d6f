"""Comparing a version whose answers nobody sees with the one that served, request by request.

The shadow is asked outside the invocation policy: at the lowest tier, within a time of its own, on nobody's budget.
What it does is not seen by the circuit, the latencies or the limits that callers meet; it is counted here, and nowhere
else.

What is counted, by arm of the copy's subject:

    shadowed   the answers that were given: how many were compared, their latencies and confidences
    shadow     the same of the shadow, and what went wrong with it: failed, late, invalid, disagreed
    canary     with a rollout alone: of how many comparisons, by how many callers, answers disagreed

Comparisons count once, whatever comes of their message: whoever marks the copy's id first counts it. A comparison may
be lost, and is not made up for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from headrace.catalog import Catalog, Endpoint
from headrace.errors import (
    AttemptFailed,
    AttemptTimedOut,
    HeadraceError,
    InvalidAnswer,
    InvalidRequest,
    PayloadTooLarge,
    StoreUnavailable,
    TargetSaturated,
    TargetThrottled,
    UnknownTarget,
)
from headrace.inference import InferenceRequest, InferenceResponse, check_outputs, plain
from headrace.invocation.attempts import checked
from headrace.invocation.targets import Primary
from headrace.rollouts.agreement import AGREEMENT_MIN, agreement
from headrace.rollouts.copies import WHOLE_BYTES_MAX, Copy, ShadowObjects, key_of, parse
from headrace.rollouts.counted import NOTHING, Counted, sureness_bucket, time_bucket
from headrace.rollouts.metrics import Metric
from headrace.rollouts.states import CANARY
from headrace.rollouts.store import Tallies
from headrace.rollouts.sureness import confidence
from headrace.tasks import object_detection, text_classification
from headrace.tasks.contracts import OBJECT_DETECTION, TEXT_CLASSIFICATION

SHADOW, SHADOWED = "shadow", "shadowed"
"""The arms of a comparison."""
TIER = 0
"""The lowest: what callers wait for goes first."""
TIMEOUT_OF_OBJECTIVE = 2.0
"""A shadow may take so many times the latency objective, so that one that is slower shows how much slower it is."""
TIMEOUT_MIN_S, TIMEOUT_MAX_S = 1.0, 20.0
AGE_MAX_S = 900.0
"""A copy that waited longer is not compared: a backlog must not keep a version busy that has been taken away."""
TALLIES_MAX = 64
"""Counts kept in memory, by subject, stage and arm; the oldest goes, and what it had is in the store."""
FUNCTION_TIMEOUT_S = 120.0
"""Of the function: a batch of copies, each with its time-out and its calls of stores."""
BATCH_MAX = 4
"""Copies per invocation, one after the other."""
VISIBILITY_S = 6 * FUNCTION_TIMEOUT_S
"""Six times the function's timeout (AWS Lambda developer guide, "Configuring a queue to use with Lambda")."""
KEPT_S = 3_600.0
"""How long a message waits; a copy that old is not compared any more."""
_MARK, _MARK_DISAGREED = "compared", "shadow-disagreed"


@dataclass(frozen=True, slots=True)
class Compared:
    """What came of a copy, without anything of what was asked or said.

    `outcome`: agreed, disagreed, invalid, a failure's reason, refused (the shadow was busy; that is not its fault),
    gone, old, unknown (no such version here), broken, again (counted already), or store.
    """

    outcome: str
    seconds: float = 0.0
    shadow: str = ""
    served: str = ""


class Shadower:
    """Asks shadows and counts.

    Args:
        catalog: which endpoints and versions there are.
        objects: where copies lie.
        primary: the endpoints themselves; not under the invocation policy.
        tallies: where counts go.
        holder: makes a name for this process's counts; each call another one.
        wall, clock: seconds since the epoch, and monotonic.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        objects: ShadowObjects,
        primary: Primary,
        tallies: Tallies,
        holder: Callable[[], str],
        wall: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._objects = objects
        self._primary = primary
        self._tallies = tallies
        self._holder = holder
        self._wall = wall
        self._clock = clock
        self._counted: dict[tuple[str, int, str], tuple[str, Counted]] = {}
        self._unwritten: set[tuple[str, int, str]] = set()

    def compare(self, endpoint: str, copy_id: str) -> Compared:
        """Ask the shadow what a caller asked, and count what it said. The copy is gone afterwards, whatever came."""
        key = key_of(endpoint, copy_id)
        try:
            data = self._objects.read_within(key, bytes_max=WHOLE_BYTES_MAX)
            if data is None:
                return Compared("gone")
            return self._compare(parse(data), copy_id)
        except StoreUnavailable:
            return Compared("store")
        except (ValueError, PayloadTooLarge):
            return Compared("broken")
        finally:
            with suppress(StoreUnavailable):  # the bucket's own rule ends it within a day
                self._objects.delete(key)

    def flush(self) -> bool:
        """Write what is not written yet; False when some of it is still not, and will be written the next time."""
        for key in list(self._unwritten):
            subject, stage, arm = key
            holder, counted = self._counted[key]
            try:
                self._tallies.write(subject, stage=stage, arm=arm, holder=holder, counted=counted)
            except StoreUnavailable:
                continue
            self._unwritten.discard(key)
        too_many = max(0, len(self._counted) - TALLIES_MAX)
        for key in [key for key in self._counted if key not in self._unwritten][:too_many]:
            del self._counted[key]  # should its subject come again, it gets another holder
        return not self._unwritten

    def _compare(self, copy: Copy, copy_id: str) -> Compared:
        if self._wall() - copy.at > AGE_MAX_S:
            return Compared("old")
        try:
            endpoint = self._catalog.endpoint(copy.endpoint)
            version = endpoint.version(copy.purpose.shadow)
        except UnknownTarget:
            return Compared("unknown", shadow=copy.purpose.shadow)
        if version.hosting != "endpoint":
            return Compared("unknown", shadow=version.name)
        objective_s = endpoint.slo_latency_p99_ms / 1000
        timeout_s = min(TIMEOUT_MAX_S, max(TIMEOUT_MIN_S, TIMEOUT_OF_OBJECTIVE * objective_s))
        answer, outcome, before_s = None, "", self._clock()
        try:
            answer = self._primary.invoke(
                endpoint, version, copy.request, timeout_s=timeout_s, tier=TIER, binary_output=copy.binary_output
            )
        except (TargetThrottled, TargetSaturated):
            return Compared("refused", shadow=version.name)
        except AttemptFailed as failure:
            outcome = failure.reason
        except InvalidRequest:
            outcome = "disagreed"  # it refuses what the other one answers
        seconds = self._clock() - before_s
        if answer is not None:
            outcome = _judged(endpoint, copy, answer)
        if self._first(copy, copy_id):
            self._count(endpoint, copy, answer, outcome, seconds=seconds, late=seconds > objective_s)
            return Compared(outcome, seconds, version.name, copy.served)
        return Compared("again", seconds, version.name, copy.served)

    def _first(self, copy: Copy, who: str, what: str = _MARK) -> bool:
        subject, stage = copy.purpose.subject, copy.purpose.stage
        # A holder of its own each time: a message that is delivered twice, even to one process, counts once.
        return self._tallies.mark(subject, stage=stage, what=what, caller=who, holder=self._holder())

    def _count(
        self,
        endpoint: Endpoint,
        copy: Copy,
        answer: InferenceResponse | None,
        outcome: str,
        *,
        seconds: float,
        late: bool,
    ) -> None:
        task = endpoint.task
        compared = outcome in {"agreed", "disagreed"}
        bad: dict[Metric, int] = {"late": 1} if late else {}
        if outcome == "disagreed":
            bad["disagreed"] = 1
        elif not compared:
            bad["invalid" if outcome == InvalidAnswer.reason else "failed"] = 1
        found = None if answer is None or not compared else confidence(task, answer)
        self._add(
            copy,
            SHADOW,
            Counted(
                requests=1,
                bad=bad,
                of={"disagreed": int(compared)},
                # A time-out took at least so long; a failure that came at once says nothing about speed.
                times={time_bucket(seconds): 1} if answer is not None or outcome == AttemptTimedOut.reason else {},
                sureness={} if found is None else {sureness_bucket(found): 1},
            ),
        )
        sure = confidence(task, copy.answer)
        self._add(
            copy,
            SHADOWED,
            Counted(
                requests=1,
                times={time_bucket(copy.seconds): 1},
                sureness={} if sure is None else {sureness_bucket(sure): 1},
            ),
        )
        if copy.purpose.rollout and compared:
            apart = outcome == "disagreed"
            new_caller = apart and copy.caller != "" and self._first_caller(copy)
            self._add(
                copy,
                CANARY,
                Counted(
                    bad={"disagreed": int(apart)},
                    bad_callers={"disagreed": int(new_caller)},
                    of={"disagreed": 1},
                ),
            )

    def _first_caller(self, copy: Copy) -> bool:
        with suppress(StoreUnavailable):
            return self._first(copy, copy.caller, _MARK_DISAGREED)
        return False

    def _add(self, copy: Copy, arm: str, counted: Counted) -> None:
        key = (copy.purpose.subject, copy.purpose.stage, arm)
        holder, before = self._counted.pop(key) if key in self._counted else (self._holder(), NOTHING)
        self._counted[key] = (holder, before.plus(counted))  # the newest stands last
        self._unwritten.add(key)


def _judged(endpoint: Endpoint, copy: Copy, answer: InferenceResponse) -> str:
    try:
        checked(answer, lambda response: check_answer(response, request=copy.request, endpoint=endpoint))
        same = agreement(endpoint.task, copy.answer, answer)
    except InvalidAnswer as invalid:
        return invalid.reason
    except (HeadraceError, ValueError, KeyError, TypeError, IndexError):
        return InvalidAnswer.reason
    return "agreed" if same >= AGREEMENT_MIN else "disagreed"


def check_answer(response: InferenceResponse, *, request: InferenceRequest, endpoint: Endpoint) -> None:
    """Hold an answer against what its task promises, as the routes do.

    Raises:
        InvalidAnswer: it is not an answer of the task.
    """
    wanted = frozenset(output["name"] for output in request.outputs)
    check_outputs(response, endpoint.outputs, wanted=wanted)
    if wanted:  # a part of an answer is judged by its tensors alone
        return
    if endpoint.task == TEXT_CLASSIFICATION:
        text_classification.read(plain(response), endpoint=endpoint, items=request.inputs[0].shape[0])
    elif endpoint.task == OBJECT_DETECTION:
        object_detection.read(plain(response))
