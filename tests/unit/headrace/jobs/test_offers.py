"""The job flow over its fakes: from the 202 to exactly one result, with deliveries repeated and runners dying."""

import base64
import json
import random
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import StoreUnavailable, TargetUnavailable, UnknownTarget
from headrace.fakes.jobs import FakeJobObjects, FakeJobQueue, FakeJobRecords, FakeServer
from headrace.identity import Principal
from headrace.jobs.offers import Jobs, look, offer, result
from headrace.jobs.requests import JobRequest, accept, answer_of, dump_request, event_of, load_answer, load_request
from headrace.jobs.runs import Later, Runner
from headrace.jobs.states import AGE_MAX_S, ATTEMPTS_MAX, KEPT_S, LEASE_S, Job, request_key, result_key

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
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Wire both sides."""
        self.jobs = Jobs(
            self.records,
            self.objects,
            self.queue,
            lambda: self.now,
            self._sleep,
            random.Random(7).randbytes,  # noqa: S311
        )
        self.runner = Runner(self.records, self.objects, self.server, lambda: self.now, lambda: 0.5)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def offer(self) -> Job:
        """A job of acme's."""
        return offer(self.jobs, accept(gateway_event(), ACME, path="/v1/classifications"))

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
        Runner(moves, desk.objects, desk.server, lambda: desk.now, lambda: 0.5).run("acme", job.job_id)
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

    jobs = Jobs(desk.records, desk.objects, Down(), desk.jobs.wall, desk.jobs.sleep, desk.jobs.random_bytes)
    with pytest.raises(StoreUnavailable):
        offer(jobs, accept(gateway_event(), ACME, path="/v1/classifications"))


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
            Runner(records, desk.objects, desk.server, lambda: desk.now, chance.random).run("acme", job.job_id)
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
