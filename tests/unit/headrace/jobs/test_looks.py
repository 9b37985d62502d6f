"""Jobs that an asynchronous endpoint has: sent once a round, looked at by one message, and over exactly once."""

import heapq
import json
import random
from dataclasses import replace
from typing import Any

import pytest

from headrace.errors import AnswerPending, StoreUnavailable
from headrace.fakes.jobs import FakeJobRecords
from headrace.jobs.asynchronous import (
    MARK,
    OVER_NOW,
    WAITS_HEADER,
    AsyncRun,
    Sent,
    dump_sent,
    job_of_key,
    load_sent,
    run_of,
)
from headrace.jobs.looks import LOOK_MAX_S, LOOK_MIN_S, SENT_MAX_S, look_again
from headrace.jobs.offers import look, result
from headrace.jobs.runs import Later, Runner
from headrace.jobs.states import (
    AGE_MAX_S,
    ATTEMPTS_MAX,
    LEASE_S,
    OVER,
    VISIBILITY_S,
    Close,
    Job,
    Start,
    begin,
    cancelled,
    conclude,
)
from tests.unit.headrace.jobs.test_offers import ACME, Desk, ok

NOW = 1_000_000.0
JOB = Job("acme", f"job_{'a' * 22}", NOW, state="running", attempts=1)
WAITS_S = 4_560


class Endpoint:
    """The serving function before an asynchronous endpoint, whose requests take a time that the test says."""

    def __init__(self, desk: Desk, *, takes_s: float, failures: int = 0) -> None:
        self.desk, self.takes_s, self.failures = desk, takes_s, failures
        self.sent: dict[tuple[str, int], float] = {}
        self.sendings = 0

    def serve(self, event: dict[str, Any]) -> dict[str, Any]:
        """Sent, still to come, failed, or answered."""
        mark = event["requestContext"][MARK]
        run = mark["job"], mark["round"]
        if run not in self.sent:
            self.sendings += 1
            self.sent[run] = self.desk.now
        if self.desk.now < self.sent[run] + self.takes_s:
            body = json.dumps({"error": {"code": AnswerPending.code}})
            return {"statusCode": 202, "headers": {WAITS_HEADER: str(WAITS_S)}, "body": body}
        if mark["round"] < self.failures:
            body = '{"error": {"code": "temporarily_unavailable"}}'
            return {"statusCode": 503, "headers": {WAITS_HEADER: OVER_NOW}, "body": body}
        return ok(event)


@pytest.fixture
def desk() -> Desk:
    """An empty desk."""
    return Desk()


def runner_of(desk: Desk, endpoint: Endpoint) -> Runner:
    """A runner whose jobs go to this endpoint."""
    desk.server.respond = endpoint.serve
    return replace(desk.runner, looks=desk.queue)


def test_a_job_that_was_sent_is_running_and_nobody_runs_it(desk: Desk) -> None:
    """Its message has done its work, the next look is a message of its own, and callers are told `running`."""
    runner = runner_of(desk, Endpoint(desk, takes_s=100))
    job = desk.offer()
    assert runner.run("acme", job.job_id) is None
    assert desk.queue.looks == [("acme", job.job_id, 1, LOOK_MIN_S)]
    record = desk.records.get("acme", job.job_id)
    assert record is not None
    assert (record.state, record.attempts, record.tries, record.lease_until) == ("sent", 1, 0, 0.0)
    assert desk.state(job) == "running"


def test_only_the_last_look_that_was_sent_looks(desk: Desk) -> None:
    """Repeated and older messages end without asking anybody, so that looks do not multiply."""
    endpoint = Endpoint(desk, takes_s=100)
    runner = runner_of(desk, endpoint)
    job = desk.offer()
    runner.run("acme", job.job_id)
    assert runner.run("acme", job.job_id) is None
    assert runner.run("acme", job.job_id, after=0) is None
    assert len(desk.queue.looks) == 1
    desk.now += LOOK_MIN_S
    assert runner.run("acme", job.job_id, after=1) is None
    assert desk.queue.looks[1:] == [("acme", job.job_id, 2, 2 * LOOK_MIN_S)]
    assert runner.run("acme", job.job_id, after=1) is None
    assert len(desk.queue.looks) == 2
    assert endpoint.sendings == 1


def test_an_arrival_is_looked_at_at_once(desk: Desk) -> None:
    """The event of the output brings the job back before its next look, which then finds it over."""
    runner = runner_of(desk, Endpoint(desk, takes_s=1))
    job = desk.offer()
    runner.run("acme", job.job_id)
    desk.now += 1
    assert runner.run("acme", job.job_id, arrived=True) is None
    assert desk.state(job) == "done"
    assert runner.run("acme", job.job_id, after=1) is None
    assert runner.run("acme", job.job_id, arrived=True) is None
    answer = result(desk.jobs, look(desk.jobs, ACME, job.job_id))
    assert answer is not None
    assert answer.status == 200


def test_an_arrival_during_a_run_comes_again_soon(desk: Desk) -> None:
    """The run may be the one that is about to say that it was sent: its lease is not waited for."""
    job = desk.offer()
    desk.records.records["acme", job.job_id] = replace(job, state="running", attempts=1, lease_until=desk.now + LEASE_S)
    later = desk.runner.run("acme", job.job_id, arrived=True)
    assert isinstance(later, Later)
    assert later.pause_s < LEASE_S / 2
    assert desk.runner.run("acme", job.job_id) == Later(LEASE_S)


def test_what_came_to_nothing_is_sent_again(desk: Desk) -> None:
    """A failure is an attempt: the job is queued again, and its next round is another request."""
    endpoint = Endpoint(desk, takes_s=0, failures=2)
    runner = runner_of(desk, endpoint)
    job = desk.offer()
    for rounds in (1, 2):
        assert isinstance(runner.run("acme", job.job_id), Later)
        assert desk.records.records["acme", job.job_id].rounds == rounds
    assert runner.run("acme", job.job_id) is None
    assert desk.state(job) == "done"
    assert endpoint.sendings == 3


def test_a_look_that_could_not_see_sends_nothing_again(desk: Desk) -> None:
    """While a store is away the job goes back to its queue, and what was sent is found by a later run."""
    endpoint = Endpoint(desk, takes_s=50)
    runner = runner_of(desk, endpoint)
    job = desk.offer()
    runner.run("acme", job.job_id)
    desk.server.respond = lambda _: {"statusCode": 503, "headers": {}, "body": ""}
    assert isinstance(runner.run("acme", job.job_id, after=1), Later)
    desk.server.respond = endpoint.serve
    desk.now += 60
    assert runner.run("acme", job.job_id, after=1) is None
    assert desk.state(job) == "done"
    assert endpoint.sendings == 1


def test_a_job_that_was_sent_has_begun(desk: Desk) -> None:
    """It is not cancelled: nobody can call back what SageMaker has queued, and it is paid for."""
    runner = runner_of(desk, Endpoint(desk, takes_s=1))
    job = desk.offer()
    runner.run("acme", job.job_id)
    assert cancelled(desk.records.records["acme", job.job_id], now=desk.now) is None


def test_a_job_that_is_over_stays_so(desk: Desk) -> None:
    """A job that was cancelled between two rounds is not brought back by what the first one left."""
    runner = runner_of(desk, Endpoint(desk, takes_s=0, failures=1))
    job = desk.offer()
    assert isinstance(runner.run("acme", job.job_id), Later)
    record = desk.records.records["acme", job.job_id]
    dropped = cancelled(record, now=desk.now)
    assert dropped is not None
    assert desk.records.move(record, dropped)
    for message in ({}, {"arrived": True}, {"after": 1}):
        assert runner.run("acme", job.job_id, **message) is None
    assert desk.records.records["acme", job.job_id].state == "cancelled"


def test_waiting_costs_no_attempts_and_ends() -> None:
    """However many looks there are, the job has tried nothing; when the time is over there are no more."""
    job, now, looks = JOB, NOW, 0
    while (found := look_again(job, waits_s=WAITS_S, now=now)) is not None:
        assert found.pause_s <= LOOK_MAX_S
        now += found.pause_s
        match begin(found.job, now=now):
            case Start(running):
                job = running
            case other:
                pytest.fail(f"{other}")
        looks += 1
        assert job.tries == 1
    assert now == NOW + WAITS_S
    assert looks > ATTEMPTS_MAX
    end = conclude(job, status=504, code="answer_late", round_over=True, now=now, uniform=0.5)
    assert isinstance(end, Close)
    assert (end.job.state, end.job.code) == ("failed", "answer_late")


def test_no_answer_may_take_longer_than_anything_may() -> None:
    """Whatever a run was told, a job does not outlive its record."""
    found = look_again(JOB, waits_s=1e9, now=NOW)
    assert found is not None
    assert found.job.sent_until == NOW + SENT_MAX_S < JOB.expires_at


def test_an_answer_on_its_way_is_not_too_old() -> None:
    """A job that waits longer than jobs may wait to be begun has not expired, nor has one whose look has died."""
    found = look_again(JOB, waits_s=2 * AGE_MAX_S, now=NOW)
    assert found is not None
    later = NOW + 1.5 * AGE_MAX_S
    assert isinstance(begin(found.job, now=later), Start)
    died = replace(found.job, state="running", attempts=2, lease_until=later - 1)
    assert isinstance(begin(died, now=later), Start)


def test_keys_say_whose_they_are() -> None:
    """Everything of a run lies below its tenant and job; other keys name no job."""
    run = AsyncRun("acme", JOB.job_id, 3)
    assert job_of_key(run.output_key) == ("acme", JOB.job_id)
    assert run.output_key.endswith("/3.out")
    wrong = (run.input_key, run.sent_key, f"async/failed/{JOB.job_id}-error.out", "async/output/acme/x/0.out", "")
    assert [job_of_key(key) for key in wrong] == [None] * len(wrong)
    assert len({run.output_key, run.input_key, run.sent_key}) == 3


def test_what_was_sent_is_read_as_it_was_written() -> None:
    """Another object is none, and says nothing."""
    sent = Sent("async/output/a", "", 12.5)
    assert load_sent(dump_sent(sent)) == sent
    for wrong in (b"", b"[]", b"{}", b'{"output": "a", "failure": "", "until": "x"}'):
        with pytest.raises(StoreUnavailable):
            load_sent(wrong)


def test_only_a_jobs_run_has_a_mark() -> None:
    """Nothing else in a request's context makes one; the tenant is the authorizer's word."""
    mark = {"job": JOB.job_id, "round": 0}
    assert run_of({MARK: mark, "authorizer": {"tenant": "acme"}}) == AsyncRun("acme", JOB.job_id, 0)
    for context in ({}, {MARK: mark}, {MARK: "x", "authorizer": {"tenant": "acme"}}, {"authorizer": {MARK: mark}}):
        assert run_of(context) is None


class Flaky(FakeJobRecords):
    """Records whose store now and then does not answer, having done what it was asked or not."""

    def __init__(self, chance: random.Random, share: float) -> None:
        super().__init__()
        self.chance, self.share = chance, share

    def move(self, before: Job, after: Job) -> bool:
        """Perhaps, and perhaps said so."""
        if self.chance.random() < self.share:
            if self.chance.random() < 0.5:
                super().move(before, after)
            raise StoreUnavailable("away")
        return super().move(before, after)


@pytest.mark.parametrize("seed", range(150))
def test_every_job_ends_once_whatever_dies(seed: int) -> None:
    """Deliveries repeated, events lost and doubled, stores away: each job is over, and its chain of looks has ended."""
    chance = random.Random(seed)  # noqa: S311
    desk = Desk(now=NOW)
    records = Flaky(chance, 0.1)
    desk.records = records
    desk.__post_init__()
    endpoint = Endpoint(desk, takes_s=chance.choice((0, 1, 30, 400)), failures=chance.choice((0, 0, 1, 2)))
    runner = runner_of(desk, endpoint)
    job = desk.offer()
    waiting: list[tuple[float, int, dict[str, Any]]] = [(desk.now, 0, {})]
    arrivals: set[tuple[str, int]] = set()
    number = 0

    def post(at: float, message: dict[str, Any]) -> None:
        nonlocal number
        number += 1
        heapq.heappush(waiting, (at, number, message))

    for _ in range(400):
        if not waiting:
            break
        at, _, message = heapq.heappop(waiting)
        desk.now = max(desk.now, at)
        desk.queue.looks.clear()
        try:
            later = runner.run("acme", job.job_id, **message)
        except StoreUnavailable:
            later = Later(VISIBILITY_S if chance.random() < 0.5 else 5.0)
        for _, _, after, pause_s in desk.queue.looks:
            for _ in range(1 + (chance.random() < 0.1)):
                post(desk.now + pause_s, {"after": after})
        if later is not None and records.records["acme", job.job_id].state not in OVER:
            post(desk.now + max(1.0, later.pause_s), message)
        for run in endpoint.sent.keys() - arrivals:
            arrivals.add(run)
            for _ in range(chance.choice((0, 1, 1, 2))):
                post(endpoint.sent[run] + endpoint.takes_s, {"arrived": True})
    assert not waiting
    record = records.records["acme", job.job_id]
    assert record.state == "done", record
    assert endpoint.sendings == endpoint.failures + 1
    answer = result(desk.jobs, look(desk.jobs, ACME, job.job_id))
    assert answer is not None
    assert answer.status == 200
