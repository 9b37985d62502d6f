"""The job flow over its fakes: from the 202 to exactly one result, with deliveries repeated and runners dying."""

import base64
import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import InvalidRequest, LimitExceeded, StoreUnavailable, TargetUnavailable, UnknownTarget
from headrace.fakes.admission import FakeSlotStore
from headrace.fakes.jobs import FakeJobObjects, FakeJobQueue, FakeJobRecords, FakeServer
from headrace.fakes.notices import FakeNotices
from headrace.identity import Principal
from headrace.jobs.offers import LIST_MAX, LIST_PAGES_MAX, JobRecords, Jobs, Page, cancel, look, newest, offer, result
from headrace.jobs.requests import JobRequest, accept, answer_of, dump_request, event_of, load_answer, load_request
from headrace.jobs.runs import Later, Runner
from headrace.jobs.states import AGE_MAX_S, ATTEMPTS_MAX, KEPT_S, LEASE_S, OVER, Job, request_key, result_key

HOOK = "https://example.com/told"
ACME = Principal("acme", "standard", frozenset({"read", "invoke"}), "key-1")


def gateway_event(**fields: Any) -> dict[str, Any]:
    """A request as the gateway hands it over."""
    return {
        "httpMethod": "POST",
        "multiValueHeaders": {
            "Content-Type": ["application/json"],
            "X-Api-Key": ["hr_secret"],
            "Authorization": ["Bearer secret"],
            "Cookie": ["secret"],
            "Prefer": ["respond-async"],
            "Idempotency-Key": ["abc"],
            "X-Request-Timeout-Ms": ["100"],
            "X-Stainless-Read-Timeout": ["1"],
            "X-Headrace-Version": ["v1"],
            "X-Headrace-Webhook": ["https://secret.example.com/"],
        },
        "multiValueQueryStringParameters": {"a": ["1", "2"]},
        "body": base64.b64encode(b'{"input":"x"}').decode(),
        "isBase64Encoded": True,
        **fields,
    }


def ok(event: dict[str, Any]) -> dict[str, Any]:
    """The serving function, in good health."""
    body = json.dumps({"id": event["requestContext"]["requestId"]})
    headers = {
        "Content-Type": "application/json",
        "X-Headrace-Served-By": "s/v1",
        "Server-Timing": "x",
        "Retry-After": "1",
    }
    return {"statusCode": 200, "headers": headers, "body": body, "isBase64Encoded": False}


def busy(_: dict[str, Any]) -> dict[str, Any]:
    """The serving function, out of capacity."""
    return {"statusCode": 503, "headers": {"Retry-After": "3"}, "body": '{"error": {"code": "overloaded"}}'}


@dataclass
class Desk:
    """The whole flow in one process, on a clock that the test moves."""

    now: float = 1_000_000.0
    records: FakeJobRecords = field(default_factory=FakeJobRecords)
    objects: FakeJobObjects = field(default_factory=FakeJobObjects)
    queue: FakeJobQueue = field(default_factory=FakeJobQueue)
    server: FakeServer = field(default_factory=lambda: FakeServer(ok))
    places: FakeSlotStore = field(default_factory=FakeSlotStore)
    notices: FakeNotices = field(default_factory=FakeNotices)
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Wire both sides."""
        self.jobs = Jobs(
            records=self.records,
            lists=self.records,
            objects=self.objects,
            queue=self.queue,
            places=self.places,
            wall=lambda: self.now,
            sleep=self._sleep,
            random_bytes=random.Random(7).randbytes,  # noqa: S311
        )
        self.runner = self.runner_over(self.records)

    def runner_over(self, records: JobRecords, *, uniform: Callable[[], float] = lambda: 0.5) -> Runner:
        """A runner whose records are these."""
        return Runner(
            records=records,
            objects=self.objects,
            server=self.server,
            places=self.places,
            notices=self.notices,
            wall=lambda: self.now,
            uniform=uniform,
        )

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def offer(self, *, caller: Principal = ACME, waiting_max: int = 100, webhook: str = "") -> Job:
        """A job of acme's."""
        request = accept(gateway_event(), caller, path="/v1/classifications")
        return offer(self.jobs, request, waiting_max=waiting_max, webhook=webhook)

    @property
    def counted(self) -> int:
        """How many jobs hold a place."""
        return sum(len(names) for names in self.places.shelves.values())

    def deliver(self, job: Job) -> Later | None:
        """One delivery of its message."""
        return self.runner.run(job.tenant, job.job_id)

    def state(self, job: Job) -> str:
        """What the caller is told."""
        return look(self.jobs, ACME, job.job_id).state


@pytest.fixture
def desk() -> Desk:
    """An empty desk."""
    return Desk()


def test_a_job_is_served_as_its_caller_would_have_been(desk: Desk) -> None:
    """The event names caller, path, query and body as they came; the answer is kept with the headers that matter."""
    job = desk.offer()
    assert desk.queue.messages == [("acme", job.job_id)]
    assert desk.state(job) == "queued"
    assert desk.deliver(job) is None
    assert desk.state(job) == "done"
    answer = result(desk.jobs, job)
    assert answer is not None
    assert answer.status == 200
    assert json.loads(answer.body) == {"id": job.job_id}
    assert dict(answer.headers) == {"content-type": "application/json", "x-headrace-served-by": "s/v1"}


def test_the_event_is_the_gateways_own_without_credentials_and_preferences(desk: Desk) -> None:
    """Identity comes from the authorizer's context alone; neither key nor `prefer` nor the caller's haste is kept."""
    job = desk.offer()
    stored = desk.objects.objects[request_key("acme", job.job_id)]
    for secret in (b"hr_secret", b"Bearer", b"secret"):
        assert secret not in stored
    event = event_of(load_request(stored), job)
    assert event["httpMethod"] == "POST"
    assert event["path"] == "/v1/classifications"
    assert event["requestContext"]["authorizer"] == {
        "tenant": "acme",
        "plan": "standard",
        "scopes": "invoke read",
        "key_id": "key-1",
    }
    assert event["headers"] == {
        "content-type": "application/json",
        "x-headrace-version": "v1",
        "x-request-timeout-ms": "28500",
    }
    assert event["multiValueQueryStringParameters"] == {"a": ["1", "2"]}
    assert base64.b64decode(event["body"]) == b'{"input":"x"}'


def test_the_way_of_authentication_is_not_part_of_the_path() -> None:
    """A caller who signed with AWS credentials is told by the stored identity; the path is the API's."""
    assert accept(gateway_event(), ACME, path="/aws/v1/classifications").path == "/v1/classifications"
    assert accept(gateway_event(), ACME, path="/awsome").path == "/awsome"


@given(st.binary(max_size=50), st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3))
def test_requests_survive_being_stored(body: bytes, query: list[tuple[str, str]]) -> None:
    """What is read is what was written."""
    request = JobRequest("POST", "/v1/x", tuple(query), (("content-type", "a/b"),), body, "acme", (("tenant", "acme"),))
    assert load_request(dump_request(request)) == request


def test_a_redelivery_of_a_finished_job_changes_nothing(desk: Desk) -> None:
    """The function is asked once, and the result stays what it was."""
    job = desk.offer()
    desk.deliver(job)
    before = dict(desk.objects.objects)
    desk.server.respond = busy
    assert desk.deliver(job) is None
    assert desk.objects.objects == before
    assert desk.state(job) == "done"


def test_two_deliveries_at_once_are_one_run(desk: Desk) -> None:
    """The second finds the first's lease and comes again when it ends."""
    job = desk.offer()
    seen: list[Later | None] = []

    def meanwhile(event: dict[str, Any]) -> dict[str, Any]:
        seen.append(desk.deliver(job))
        return ok(event)

    desk.server.respond = meanwhile
    assert desk.deliver(job) is None
    assert seen == [Later(LEASE_S)]


def test_a_runner_that_dies_before_the_answer_is_followed_by_another(desk: Desk) -> None:
    """After its lease the job is run again."""
    job = desk.offer()
    desk.server.respond = _die
    with pytest.raises(KeyboardInterrupt):
        desk.deliver(job)
    assert desk.state(job) == "running"
    desk.server.respond = ok
    desk.now += LEASE_S
    assert desk.deliver(job) is None
    assert desk.state(job) == "done"


def _die(_: dict[str, Any]) -> dict[str, Any]:
    raise KeyboardInterrupt


def test_a_runner_that_dies_after_the_answer_has_its_answer_kept(desk: Desk) -> None:
    """The next one finds the result, asks nobody, and closes the record."""
    job = desk.offer()
    moves = FailingRecords(desk.records, fail_at=2)
    with pytest.raises(StoreUnavailable):
        desk.runner_over(moves).run("acme", job.job_id)
    kept = desk.objects.objects[result_key("acme", job.job_id)]
    desk.now += LEASE_S
    desk.server.respond = _die
    assert desk.deliver(job) is None
    assert desk.state(job) == "done"
    assert desk.objects.objects[result_key("acme", job.job_id)] == kept


@dataclass
class FailingRecords:
    """Records whose store fails at one move, counted from 1."""

    inner: FakeJobRecords
    fail_at: int

    def create(self, job: Job) -> None:
        """As the inner ones."""
        self.inner.create(job)

    def get(self, tenant: str, job_id: str) -> Job | None:
        """As the inner ones."""
        return self.inner.get(tenant, job_id)

    def move(self, before: Job, after: Job) -> bool:
        """As the inner ones, but once."""
        self.fail_at -= 1
        if self.fail_at == 0:
            raise StoreUnavailable("down")
        return self.inner.move(before, after)


def test_of_two_answers_the_first_one_stands(desk: Desk) -> None:
    """A runner that was thought dead writes nothing over its successor's result."""
    job = desk.offer()

    def late(event: dict[str, Any]) -> dict[str, Any]:
        desk.now += LEASE_S
        desk.server.respond = ok
        assert desk.deliver(job) is None
        return {**ok(event), "statusCode": 404, "body": "{}"}

    desk.server.respond = late
    desk.deliver(job)
    assert load_answer(desk.objects.objects[result_key("acme", job.job_id)]).status == 200
    assert (desk.state(job), look(desk.jobs, ACME, job.job_id).status) == ("done", 200)


def test_not_now_leaves_the_message_in_the_queue_until_the_bound(desk: Desk) -> None:
    """Each refusal comes back later; at the last one the job fails with its code, and its message is dead."""
    job = desk.offer()
    desk.server.respond = busy
    pauses = []
    for _ in range(ATTEMPTS_MAX):
        later = desk.deliver(job)
        assert later is not None
        pauses.append(later.pause_s)
        desk.now += later.pause_s
    assert pauses[-1] == 0.0
    assert pauses[:-1] == sorted(pauses[:-1])
    assert desk.state(job) == "failed"
    assert look(desk.jobs, ACME, job.job_id).code == "overloaded"
    assert desk.deliver(job) == Later(0.0)
    assert result_key("acme", job.job_id) not in desk.objects.objects


@pytest.mark.parametrize("answer", [{}, {"statusCode": "x"}, {"statusCode": 200, "body": 5}, None])
def test_a_function_that_fails_or_answers_nonsense_is_asked_again(desk: Desk, answer: Any) -> None:
    """Neither an unreachable function nor one that answers something else ends a job."""

    def nonsense(_: dict[str, Any]) -> dict[str, Any]:
        if answer is None:
            raise TargetUnavailable("down")
        return dict(answer)

    desk.server.respond = nonsense
    job = desk.offer()
    assert desk.deliver(job) is not None
    assert desk.state(job) == "queued"


def test_a_job_that_waited_too_long_is_not_run(desk: Desk) -> None:
    """It expires unasked, and its message has done its work."""
    job = desk.offer()
    desk.server.respond = _die
    desk.now += AGE_MAX_S + 1
    assert desk.state(job) == "expired"
    assert desk.deliver(job) is None
    assert desk.records.records["acme", job.job_id].state == "expired"


def test_a_request_that_is_gone_or_not_the_tenants_fails(desk: Desk) -> None:
    """An object that names another tenant than its record does is never served."""
    gone, foreign = desk.offer(), desk.offer()
    del desk.objects.objects[request_key("acme", gone.job_id)]
    other = Principal("other", "standard", frozenset({"invoke"}), "k")
    desk.objects.objects[request_key("acme", foreign.job_id)] = dump_request(accept(gateway_event(), other, path="/"))
    desk.server.respond = _die
    for job in (gone, foreign):
        assert desk.deliver(job) == Later(0.0)
        assert look(desk.jobs, ACME, job.job_id).code == "request_lost"


def test_an_unknown_job_is_dropped(desk: Desk) -> None:
    """A message without a record has nothing to do."""
    assert desk.runner.run("acme", "job_" + "x" * 22) is None


def test_no_tenant_finds_anothers_job(desk: Desk) -> None:
    """The id is right and the tenant is not: there is no such job, just as for an id that nobody has, or an old one."""
    job = desk.offer()
    other = replace(ACME, tenant="other")
    for principal, job_id in ((other, job.job_id), (ACME, "job_" + "x" * 22), (ACME, "../x"), (ACME, "")):
        with pytest.raises(UnknownTarget) as refused:
            look(desk.jobs, principal, job_id, wait_s=20)
        assert refused.value.code == "job_not_found"
    desk.now += KEPT_S
    with pytest.raises(UnknownTarget):
        desk.state(job)


@pytest.mark.parametrize(
    ("key_id", "scopes", "sees"),
    [
        ("key-1", {"invoke:sentiment"}, True),
        ("key-1", {"read"}, False),
        ("key-2", {"invoke"}, True),
        ("key-2", {"invoke:sentiment"}, False),
        ("key-2", {"read"}, False),
        ("key-2", set(), False),
    ],
)
def test_a_narrow_key_sees_its_own_jobs_alone(desk: Desk, key_id: str, scopes: set[str], *, sees: bool) -> None:
    """An answer is a model's: within the tenant it is for keys of every model, and for the one that asked."""
    job = desk.offer()
    principal = replace(ACME, key_id=key_id, scopes=frozenset(scopes))
    if sees:
        assert look(desk.jobs, principal, job.job_id).state == "queued"
        return
    with pytest.raises(UnknownTarget):
        look(desk.jobs, principal, job.job_id)


def test_a_look_that_waits_ends_with_the_job_or_its_time(desk: Desk) -> None:
    """It sleeps no longer than asked, never beyond the bound, and stops as soon as the job is over."""
    job = desk.offer()
    began = desk.now
    assert look(desk.jobs, ACME, job.job_id, wait_s=3).state == "queued"
    assert desk.now - began == pytest.approx(3)
    began = desk.now
    look(desk.jobs, ACME, job.job_id, wait_s=1e9)
    assert desk.now - began == pytest.approx(20)
    desk.deliver(job)
    desk.slept.clear()
    assert look(desk.jobs, ACME, job.job_id, wait_s=20).state == "done"
    assert not desk.slept


def test_what_could_not_be_sent_was_not_accepted(desk: Desk) -> None:
    """The caller of a job that never reached the queue is not told that it will be run."""

    class Down:
        def send(self, tenant: str, job_id: str) -> None:
            """Never."""
            del tenant, job_id
            raise StoreUnavailable("down")

    jobs = replace(desk.jobs, queue=Down())
    with pytest.raises(StoreUnavailable):
        offer(jobs, accept(gateway_event(), ACME, path="/v1/classifications"), waiting_max=5, webhook=HOOK)
    assert desk.counted == 0
    (job,) = desk.records.records.values()
    assert (job.state, job.code) == ("failed", "not_queued")


def test_a_record_that_was_written_though_nobody_said_so_waits_for_nobody(desk: Desk) -> None:
    """The write arrived and its answer did not: the caller heard 503, so no list may show a job that is queued."""

    class Late:
        def create(self, job: Job) -> None:
            """Written, and not answered."""
            desk.records.create(job)
            raise StoreUnavailable("late")

        def get(self, tenant: str, job_id: str) -> Job | None:
            """As it is."""
            return desk.records.get(tenant, job_id)

        def move(self, before: Job, after: Job) -> bool:
            """As it is."""
            return desk.records.move(before, after)

    with pytest.raises(StoreUnavailable):
        offer(
            replace(desk.jobs, records=Late()),
            accept(gateway_event(), ACME, path="/v1/classifications"),
            waiting_max=5,
        )
    (job,) = desk.records.records.values()
    assert (desk.counted, job.state, job.code) == (0, "failed", "not_queued")
    # Had the message been sent after all, it would change nothing and tell nobody.
    desk.server.respond = _die
    assert desk.deliver(job) == Later(0.0)
    assert not desk.notices.sent


@given(st.randoms(use_true_random=False), st.integers(1, 40))
def test_exactly_one_result_under_any_deliveries_and_crashes(chance: random.Random, deliveries: int) -> None:
    """Deliveries at any time, runners that die at any call, answers of any kind: a result never changes once it is."""
    desk = Desk()
    job = desk.offer()
    kept: bytes | None = None
    over = ""

    def any_answer(event: dict[str, Any]) -> dict[str, Any]:
        kind = chance.choice(["ok", "ok2", "busy", "die", "down"])
        if kind == "die":
            raise KeyboardInterrupt
        if kind == "down":
            raise TargetUnavailable("down")
        return busy(event) if kind == "busy" else {**ok(event), "body": json.dumps(chance.random())}

    desk.server.respond = any_answer
    for _ in range(deliveries):
        records = FailingRecords(desk.records, fail_at=chance.randint(1, 5))
        with suppress(KeyboardInterrupt, StoreUnavailable):
            desk.runner_over(records, uniform=chance.random).run("acme", job.job_id)
        desk.now += chance.choice([0.0, 30.0, LEASE_S])
        found = desk.objects.objects.get(result_key("acme", job.job_id))
        assert kept is None or found == kept
        kept = found
        state = desk.records.records["acme", job.job_id].state
        assert not over or state == over
        over = state if state in {"done", "failed", "expired"} else ""
        assert state != "done" or kept is not None


def test_answers_keep_their_bytes() -> None:
    """A binary answer arrives in base64, and is kept as it was."""
    raw = base64.b64encode(b"\x00\xff").decode()
    multi = {"Content-Type": ["application/octet-stream"], "Inference-Header-Content-Length": ["1"]}
    answer = answer_of({"statusCode": 200, "multiValueHeaders": multi, "body": raw, "isBase64Encoded": True})
    assert answer.body == b"\x00\xff"
    assert answer.header("inference-header-content-length") == "1"


# -- the bound on jobs that are not over ------------------------------------------------------------------------------


def test_a_tenant_may_have_so_many_jobs_and_no_more(desk: Desk) -> None:
    """At the bound an offer is refused, nothing is written for it, and others are not touched; an end makes room."""
    jobs = [desk.offer(waiting_max=3) for _ in range(3)]
    written = len(desk.objects.objects)
    with pytest.raises(LimitExceeded) as refused:
        desk.offer(waiting_max=3)
    assert (refused.value.code, refused.value.limit) == ("jobs_exceeded", 3)
    assert refused.value.retry_after_s > 0
    assert len(desk.objects.objects) == written
    assert len(desk.queue.messages) == 3
    desk.offer(caller=replace(ACME, tenant="other"), waiting_max=3)
    desk.deliver(jobs[1])
    desk.offer(waiting_max=3)
    with pytest.raises(LimitExceeded):
        desk.offer(waiting_max=3)


def test_a_job_that_waits_for_another_run_still_counts(desk: Desk) -> None:
    """Sent back is not over; failed, expired and cancelled are."""
    desk.server.respond = busy
    again = desk.offer(waiting_max=1)
    desk.deliver(again)
    with pytest.raises(LimitExceeded):
        desk.offer(waiting_max=1)
    cancel(desk.jobs, ACME, again.job_id)
    old = desk.offer(waiting_max=1)
    desk.now += AGE_MAX_S + 1
    assert desk.deliver(old) is None
    assert desk.counted == 0


def test_places_of_jobs_that_nobody_ended_come_back_by_themselves(desk: Desk) -> None:
    """A queue that loses messages cannot lock a tenant out: after the hour that a job may wait its place is free."""
    for _ in range(4):
        desk.offer(waiting_max=4)
    with pytest.raises(LimitExceeded):
        desk.offer(waiting_max=4)
    desk.now += AGE_MAX_S + LEASE_S + 5
    desk.offer(waiting_max=4)


@given(st.integers(1, 400), st.integers(0, 3))
def test_the_bound_is_exact_while_it_fits_the_shelves_that_are_tried(bound: int, over: int) -> None:
    """Up to 400 jobs, exactly as many are taken as may be: none is refused before and none taken behind the bound."""
    desk = Desk()
    taken = 0
    for _ in range(bound + over):
        with suppress(LimitExceeded):
            desk.offer(waiting_max=bound)
            taken += 1
    assert taken == bound
    assert desk.counted == bound


def test_what_could_not_be_written_down_counts_nothing(desk: Desk) -> None:
    """The place of a job that was not accepted is given back at once; without the count nothing is accepted."""

    class Down(FakeJobObjects):
        def write_once(self, key: str, body: bytes) -> bool:
            """Never."""
            raise StoreUnavailable(f"down for {len(body)} bytes at {key}")

    with pytest.raises(StoreUnavailable):
        offer(replace(desk.jobs, objects=Down()), accept(gateway_event(), ACME, path="/"), waiting_max=5)
    assert desk.counted == 0
    desk.places.down = True
    with pytest.raises(StoreUnavailable):
        desk.offer()


# -- cancelling -------------------------------------------------------------------------------------------------------


def test_what_has_not_begun_is_dropped(desk: Desk) -> None:
    """Nobody is asked for a cancelled job, its message has done its work, and cancelling again changes nothing."""
    job = desk.offer()
    desk.server.respond = _die
    assert cancel(desk.jobs, ACME, job.job_id).state == "cancelled"
    assert desk.counted == 0
    assert desk.deliver(job) is None
    assert desk.state(job) == "cancelled"
    assert cancel(desk.jobs, ACME, job.job_id).state == "cancelled"
    assert result_key("acme", job.job_id) not in desk.objects.objects


def test_what_has_begun_is_left_alone(desk: Desk) -> None:
    """A job that is being run, and one that is over, say so and stay what they are."""
    job = desk.offer()
    seen = []

    def meanwhile(event: dict[str, Any]) -> dict[str, Any]:
        seen.append(cancel(desk.jobs, ACME, job.job_id).state)
        return ok(event)

    desk.server.respond = meanwhile
    assert desk.deliver(job) is None
    assert seen == ["running"]
    assert cancel(desk.jobs, ACME, job.job_id).state == "done"
    old = desk.offer()
    desk.now += AGE_MAX_S + 1
    assert cancel(desk.jobs, ACME, old.job_id).state == "expired"


def test_a_job_that_went_back_to_the_queue_can_be_cancelled(desk: Desk) -> None:
    """Between two runs nothing of it is at work; neither is it when its runner has died."""
    desk.server.respond = busy
    waiting, crashed = desk.offer(), desk.offer()
    desk.deliver(waiting)
    assert cancel(desk.jobs, ACME, waiting.job_id).state == "cancelled"
    desk.server.respond = _die
    with pytest.raises(KeyboardInterrupt):
        desk.deliver(crashed)
    assert cancel(desk.jobs, ACME, crashed.job_id).state == "running"
    desk.now += LEASE_S
    assert cancel(desk.jobs, ACME, crashed.job_id).state == "cancelled"


def test_only_who_may_see_a_job_may_cancel_it(desk: Desk) -> None:
    """For every other caller there is no such job, and it goes on."""
    job = desk.offer()
    narrow = replace(ACME, key_id="key-2", scopes=frozenset({"read"}))
    for stranger in (replace(ACME, tenant="other"), narrow):
        with pytest.raises(UnknownTarget):
            cancel(desk.jobs, stranger, job.job_id)
    assert desk.state(job) == "queued"


def test_a_cancel_that_loses_every_race_says_what_won(desk: Desk) -> None:
    """A record that always moves under the canceller's hands is somebody's at work, and is not chased for ever."""
    job = desk.offer()

    @dataclass
    class Moving(FakeJobRecords):
        asked: int = 0

        def move(self, before: Job, after: Job) -> bool:
            """Somebody else was first."""
            self.asked += 1
            assert (before.job_id, after.state) == (job.job_id, "cancelled")
            return False

    records = Moving(desk.records.records)
    assert cancel(replace(desk.jobs, records=records), ACME, job.job_id).state == "queued"
    assert 0 < records.asked < 10


# -- the list ---------------------------------------------------------------------------------------------------------


def test_the_newest_jobs_come_first_page_after_page(desk: Desk) -> None:
    """Each job is on one page, in the order of acceptance backwards, whatever its state; other tenants' are not."""
    jobs = []
    for _ in range(7):
        jobs.append(desk.offer())
        desk.now += 0.01
    desk.offer(caller=replace(ACME, tenant="other"))
    desk.deliver(jobs[6])
    found: list[Job] = []
    page = newest(desk.jobs, ACME, limit=3)
    sizes = [len(page.jobs)]
    found += page.jobs
    while page.after:
        page = newest(desk.jobs, ACME, limit=3, after=page.after)
        sizes.append(len(page.jobs))
        found += page.jobs
    assert [job.job_id for job in found] == [job.job_id for job in reversed(jobs)]
    assert sizes == [3, 3, 1]
    assert found[0].state == "done"


def test_the_list_tells_states_as_a_look_does(desk: Desk) -> None:
    """A job that is too old to be begun has expired there too, and one that is not kept any more is not listed."""
    desk.offer()
    desk.now += AGE_MAX_S + 1
    assert [job.state for job in newest(desk.jobs, ACME).jobs] == ["expired"]
    desk.now += KEPT_S
    assert newest(desk.jobs, ACME) == Page((), "")


def test_a_narrow_key_lists_its_own_jobs(desk: Desk) -> None:
    """Other keys' jobs are passed over, within a bounded number of pages; the rest is behind the cursor."""
    narrow = Principal("acme", "standard", frozenset({"invoke:sentiment"}), "key-2")
    own = desk.offer(caller=narrow)
    desk.now += 1
    for _ in range(LIST_MAX * LIST_PAGES_MAX):
        desk.offer(waiting_max=64 * 100)
    page = newest(desk.jobs, narrow)
    assert page.jobs == ()
    assert page.after
    assert [job.job_id for job in newest(desk.jobs, narrow, after=page.after).jobs] == [own.job_id]


@pytest.mark.parametrize(
    ("limit", "after", "code"),
    [(0, "", "invalid_limit"), (LIST_MAX + 1, "", "invalid_limit"), (5, "job_x", "invalid_after")],
)
def test_a_page_that_cannot_be_is_refused(desk: Desk, limit: int, after: str, code: str) -> None:
    """Limits are bounded, and `after` is an id."""
    with pytest.raises(InvalidRequest) as refused:
        newest(desk.jobs, ACME, limit=limit, after=after)
    assert refused.value.code == code


# -- telling the end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["done", "failed", "expired", "cancelled"])
def test_every_end_is_told_once(desk: Desk, end: str) -> None:
    """However the job ends and however often its message comes: the notice is sent once, with its moment on record."""
    job = desk.offer(webhook=HOOK)
    if end == "failed":
        desk.server.respond = lambda event: {**busy(event), "headers": {}}
        for _ in range(ATTEMPTS_MAX):
            later = desk.deliver(job)
            desk.now += later.pause_s if later else 0
    elif end == "expired":
        desk.now += AGE_MAX_S + 1
    elif end == "cancelled":
        cancel(desk.jobs, ACME, job.job_id)
    for _ in range(3):
        desk.deliver(job)
    record = desk.records.records["acme", job.job_id]
    assert (record.state, record.told, record.ended_at > 0) == (end, True, True)
    assert desk.notices.sent == [("acme", "job", job.job_id)]


def test_nobody_is_told_who_did_not_ask(desk: Desk) -> None:
    """Without a webhook nothing is sent, nor before the end."""
    plain, told = desk.offer(), desk.offer(webhook=HOOK)
    desk.deliver(plain)
    desk.server.respond = busy
    desk.deliver(told)
    assert not desk.notices.sent


def test_an_end_that_could_not_be_told_is_told_when_the_message_comes_again(desk: Desk) -> None:
    """The message is done with only when the notice is in its queue; the job itself is over, and asked for once."""
    job = desk.offer(webhook=HOOK)
    desk.notices.down = True
    with pytest.raises(StoreUnavailable):
        desk.deliver(job)
    assert desk.state(job) == "done"
    desk.notices.down = False
    desk.server.respond = _die
    assert desk.deliver(job) is None
    assert desk.notices.sent == [("acme", "job", job.job_id)]


@given(st.randoms(use_true_random=False), st.integers(1, 30))
def test_an_end_is_told_whatever_dies_on_the_way(chance: random.Random, deliveries: int) -> None:
    """Stores that fail at any call: who ended is told at least once, who has not is not, and no place is kept."""
    desk = Desk()
    job = desk.offer(webhook=HOOK)
    desk.server.respond = lambda event: busy(event) if chance.random() < 0.5 else ok(event)
    for _ in range(deliveries):
        desk.notices.down = chance.random() < 0.5
        with suppress(StoreUnavailable):
            desk.runner_over(FailingRecords(desk.records, fail_at=chance.randint(1, 4))).run("acme", job.job_id)
        if chance.random() < 0.1:
            cancel(desk.jobs, ACME, job.job_id)
        assert not desk.notices.sent or desk.records.records["acme", job.job_id].state in OVER
        desk.now += chance.choice([1.0, LEASE_S, 300.0])
    desk.notices.down = False
    while desk.records.records["acme", job.job_id].state not in OVER or not desk.notices.sent:
        desk.now += LEASE_S
        desk.deliver(job)
    assert desk.counted == 0
    assert set(desk.notices.sent) == {("acme", "job", job.job_id)}
