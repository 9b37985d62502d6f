"""A request that becomes a job: accepted by `predict`, served by `predict`, looked at through `predict`."""

import base64
import json
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from headrace.catalog import Catalog
from headrace.errors import StoreUnavailable
from headrace.fakes.admission import FakeSlotStore
from headrace.fakes.jobs import FakeJobObjects, FakeJobQueue, FakeJobRecords, FakeServer
from headrace.fakes.notices import FakeNotices
from headrace.fakes.targets import unavailable
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.jobs.offers import Jobs
from headrace.jobs.runs import Later, Runner
from headrace.jobs.states import WAITING_PER_PLACE
from headrace.plans import Plan, Rate
from tests.unit.functions.gateway import Answer, Gateway, event_of

BODY = {"input": "a"}


def positive(request: InferenceRequest) -> InferenceResponse:
    """A classifier that likes everything."""
    count = request.inputs[0].shape[0]
    return InferenceResponse(
        outputs=(
            Tensor("label", "BYTES", (count,), data=["positive"] * count),
            Tensor("probabilities", "FP32", (count, 3), data=[0.125, 0.125, 0.75] * count),
        )
    )


class Office:
    """A gateway that takes jobs, and a runner that serves them through the same gateway."""

    def __init__(self, catalog: Catalog) -> None:
        self.gateway = Gateway(catalog)
        self.gateway.primary.respond = positive
        self.records, self.objects, self.queue = FakeJobRecords(), FakeJobObjects(), FakeJobQueue()
        self.served: list[dict[str, Any]] = []
        ids = count(1)
        self.places, self.notices = FakeSlotStore(), FakeNotices()
        self.jobs = Jobs(
            records=self.records,
            lists=self.records,
            objects=self.objects,
            queue=self.queue,
            places=self.places,
            wall=self.now,
            sleep=self.sleep,
            random_bytes=lambda size: next(ids).to_bytes(size, "big"),
        )
        self.gateway.set_jobs(self.jobs)
        self.runner = self.runner_over(FakeServer(self.serve))

    def runner_over(self, server: FakeServer) -> Runner:
        """A runner whose function is this."""
        return Runner(
            records=self.records,
            objects=self.objects,
            server=server,
            places=self.places,
            notices=self.notices,
            wall=self.now,
            uniform=lambda: 0.5,
        )

    def now(self) -> float:
        """The gateway's clock."""
        return self.gateway.now

    def sleep(self, seconds: float) -> None:
        """Time passes, and somebody else serves what is in the queue meanwhile."""
        self.gateway.now += seconds
        elsewhere = FakeServer(lambda _: {"statusCode": 200, "headers": {}, "body": "done elsewhere"})
        for tenant, job_id in self.queue.messages:
            self.runner_over(elsewhere).run(tenant, job_id)

    def serve(self, event: dict[str, Any]) -> dict[str, Any]:
        """What Lambda would answer to `job_run`."""
        self.served.append(event)
        answer = self.gateway.send(event)
        return {"statusCode": answer.status, "headers": answer.headers, "body": answer.body.decode()}

    def deliver(self) -> list[Later | None]:
        """Every message once."""
        return [self.runner.run(tenant, job_id) for tenant, job_id in list(self.queue.messages)]

    def ask(self, **headers: str) -> Answer:
        """A request whose caller rather has the answer later."""
        sent = {"Prefer": "respond-async", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.gateway.post("/v1/classifications", BODY, headers=sent)

    def look(self, answer: Answer, *, tenant: str = "acme", plan_: str = "standard", **headers: str) -> Answer:
        """Where the 202 points to."""
        event = event_of("list-models")
        event.update(path=answer.headers["location"], headers=headers, multiValueHeaders=None)
        event["requestContext"]["authorizer"].update(tenant=tenant, plan=plan_)
        return self.gateway.send(event)

    def list(self, *, tenant: str = "acme", **query: str) -> Answer:
        """A page of the tenant's jobs."""
        event = event_of("list-models")
        many = {name: [value] for name, value in query.items()}
        event.update(path="/v1/jobs", queryStringParameters=query, multiValueQueryStringParameters=many)
        event["requestContext"]["authorizer"].update(tenant=tenant)
        return self.gateway.send(event)

    def cancel(self, answer: Answer, *, tenant: str = "acme") -> Answer:
        """Drop the job of a 202."""
        return self.gateway.post(f"{answer.headers['location']}/cancel", b"", tenant=tenant)


@pytest.fixture
def office(catalog: Catalog) -> Office:
    """An office that is open; it knows a plan of two requests at once, and hardly any later."""
    small = Plan("small", tier=0, concurrency=8, rate=Rate(0.01, 2))
    return Office(replace(catalog, plans={**catalog.plans, "small": small}))


def test_a_caller_who_prefers_it_gets_a_job(office: Office) -> None:
    """202, a Location, a state, and when to look again; nothing was asked of the endpoint."""
    answer = office.ask()
    assert answer.status == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["state"] == "queued"
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert office.look(answer).json() == answer.json()


def test_the_job_ends_with_the_answer_that_the_caller_would_have_got(office: Office) -> None:
    """Status, body and the headers that matter are those of the route, under the job's id."""
    accepted = office.ask()
    assert office.deliver() == [None]
    looked = office.look(accepted)
    assert looked.status == 200
    assert "retry-after" not in looked.headers
    document = looked.json()
    assert document["state"] == "done"
    assert document["result"]["status"] == 200
    assert document["result"]["body"]["results"][0]["label"] == "positive"
    assert document["result"]["headers"]["x-headrace-served-by"] == "sentiment/v1"
    assert document["result"]["headers"]["x-request-id"] == document["id"]


def test_a_caller_who_waits_gets_the_answer_if_there_is_one(office: Office) -> None:
    """With `wait` a request is answered as any other, and becomes a job only when nothing serves it in time."""
    assert office.ask(Prefer="respond-async, wait=5").status == 200
    office.gateway.primary.respond = unavailable
    assert office.ask(Prefer="respond-async, wait=5").status == 202
    assert office.gateway.post("/v1/classifications", BODY, headers={"Prefer": "wait=5"}).status == 503


def test_a_job_has_the_most_time_that_its_endpoint_grants(office: Office) -> None:
    """Neither the caller's preference nor its haste reaches the function when the job is run."""
    office.ask(x_request_timeout_ms="200")
    office.deliver()
    (event,) = office.served
    assert "prefer" not in event["headers"]
    assert event["headers"]["x-request-timeout-ms"] == "28500"


def test_a_wrong_request_is_refused_before_it_becomes_a_job(office: Office) -> None:
    """What can be said at once is not said later: bodies and scopes are checked first."""
    headers = {"Prefer": "respond-async"}
    wrong = office.gateway.post("/v1/classifications", {"input": 5}, headers=headers)
    foreign = office.gateway.post("/v1/classifications", BODY, headers=headers, scopes="read")
    assert (wrong.status, foreign.status) == (400, 403)
    assert not office.queue.messages


def test_a_prefer_that_cannot_be_read_is_refused(office: Office) -> None:
    """A misspelt preference is said to be one."""
    answer = office.ask(Prefer="respond-async wait")
    assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_prefer")


def test_a_look_can_wait_for_the_end(office: Office) -> None:
    """`Prefer: wait=N` answers when the job is over, not before and not much later."""
    accepted = office.ask()
    began = office.gateway.now
    looked = office.look(accepted, prefer="wait=20")
    assert looked.json()["state"] == "done"
    assert base64.b64decode(looked.json()["result"]["body_base64"]) == b"done elsewhere"
    assert looked.headers["preference-applied"] == "wait=20"
    assert 0 < office.gateway.now - began < 1


def test_no_tenant_sees_anothers_job(office: Office) -> None:
    """With the right id and another tenant's key there is no such job, done or not."""
    accepted = office.ask()
    office.deliver()
    looked = office.look(accepted, tenant="other")
    assert (looked.status, looked.json()["error"]["code"]) == (404, "job_not_found")
    assert office.look(accepted).status == 200


def test_an_answer_that_is_an_error_is_an_answer(office: Office) -> None:
    """What the route refuses when the job runs is the job's result, and not the look's."""
    accepted = office.ask()
    (key,) = [key for key in office.objects.objects if key.endswith(".request.json")]
    stored = json.loads(office.objects.objects[key])
    stored["caller"] = [pair if pair[0] != "scopes" else ["scopes", "read"] for pair in stored["caller"]]
    office.objects.objects[key] = json.dumps(stored).encode()
    office.deliver()
    document = office.look(accepted).json()
    assert (document["state"], document["result"]["status"]) == ("done", 403)


def test_what_cannot_be_written_down_is_not_accepted(office: Office) -> None:
    """Without a store there is no 202: the caller is told to try again."""

    class Down(FakeJobQueue):
        def send(self, tenant: str, job_id: str) -> None:
            """Never."""
            raise StoreUnavailable(f"down for {tenant} and {job_id}")

    office.gateway.set_jobs(replace(office.jobs, queue=Down()))
    assert office.ask().status == 503


def test_nothing_of_the_request_is_recorded(office: Office) -> None:
    """The log knows the job's id, and neither input nor answer."""
    office.ask()
    office.deliver()
    text = json.dumps(office.gateway.records)
    assert "job_" in text
    assert '"a"' not in text


def test_accepting_jobs_is_limited_like_answering(office: Office) -> None:
    """A tenant cannot have more requests accepted than its rate allows, and nothing is written for those refused."""
    office.gateway.plan = "small"
    statuses = [office.ask().status for _ in range(4)]
    assert statuses == [202, 202, 429, 429]
    assert len(office.queue.messages) == 2


def test_waiting_for_a_job_is_limited_like_any_request(office: Office) -> None:
    """A look that waits keeps a function busy: it takes a place of the tenant's; a look that does not wait is free."""
    accepted = office.ask()
    looks = [office.look(accepted, plan_="small", prefer="wait=1").status for _ in range(4)]
    assert looks == [200, 200, 429, 429]
    assert office.look(accepted, plan_="small").status == 200


def test_what_must_not_be_stored_is_not_stored_by_a_job_either(office: Office) -> None:
    """`cache-control: no-store` is the caller's word also when the request is served later."""
    office.ask(cache_control="no-store")
    office.deliver()
    (event,) = office.served
    assert event["headers"]["cache-control"] == "no-store"


def test_a_tenant_with_too_many_jobs_is_told_so(office: Office) -> None:
    """429 with a code of its own and when to come again; an end makes room, and a replay needs none."""
    tiny = Plan("tiny", tier=0, concurrency=1, rate=Rate(1000, 1000))
    catalog = office.gateway.catalog
    office.gateway.catalog = replace(catalog, plans={**catalog.plans, "tiny": tiny})
    office.gateway.set_jobs(office.jobs)
    office.gateway.plan = "tiny"
    answers = [office.ask(idempotency_key=f"key-{number}") for number in range(WAITING_PER_PLACE + 1)]
    assert [answer.status for answer in answers] == [202] * WAITING_PER_PLACE + [429]
    assert answers[-1].json()["error"]["code"] == "jobs_exceeded"
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert answers[-1].headers["ratelimit-limit"] == str(WAITING_PER_PLACE)
    assert office.ask(idempotency_key="key-0").headers["location"] == answers[0].headers["location"]
    assert office.cancel(answers[0]).status == 200
    assert office.ask(idempotency_key="key-new").status == 202


def test_a_job_that_has_not_begun_can_be_cancelled(office: Office) -> None:
    """The answer is the job, and nothing is asked of the endpoint for it afterwards."""
    accepted = office.ask()
    cancelled = office.cancel(accepted)
    assert (cancelled.status, cancelled.json()["state"]) == (200, "cancelled")
    assert office.deliver() == [None]
    assert not office.served
    looked = office.look(accepted)
    assert (looked.json()["state"], looked.json()["result"]) == ("cancelled", None)
    assert "retry-after" not in looked.headers


def test_a_job_that_is_done_is_not_cancelled(office: Office) -> None:
    """The state says what it is, and the answer is still there."""
    accepted = office.ask()
    office.deliver()
    assert office.cancel(accepted).json()["state"] == "done"
    assert office.look(accepted).json()["result"]["status"] == 200


def test_no_tenant_cancels_or_lists_anothers_jobs(office: Office) -> None:
    """With the right id and another tenant's key there is no such job, and none in the list."""
    accepted = office.ask()
    refused = office.cancel(accepted, tenant="other")
    assert (refused.status, refused.json()["error"]["code"]) == (404, "job_not_found")
    assert office.list(tenant="other").json()["data"] == []
    assert office.look(accepted).json()["state"] == "queued"


def test_jobs_are_listed_newest_first(office: Office) -> None:
    """Pages of the size asked for, each beginning behind the last id of the one before; results are not in them."""
    ids = []
    for _ in range(3):
        ids.append(office.ask().json()["id"])
        office.gateway.now += 1
    office.deliver()
    first = office.list(limit="2").json()
    assert [job["id"] for job in first["data"]] == [ids[2], ids[1]]
    assert (first["object"], first["has_more"], first["last_id"]) == ("list", True, ids[1])
    assert all("result" not in job and job["state"] == "done" for job in first["data"])
    second = office.list(limit="2", after=first["last_id"]).json()
    assert ([job["id"] for job in second["data"]], second["has_more"]) == ([ids[0]], False)
    assert office.list(after=ids[0]).json() == {
        "object": "list",
        "data": [],
        "first_id": None,
        "last_id": None,
        "has_more": False,
    }


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"limit": "99999"}, {"limit": "-1"}, {"after": "x"}])
def test_a_page_that_cannot_be_is_refused(office: Office, query: dict[str, str]) -> None:
    """400, and which of the two is wrong."""
    answer = office.list(**query)
    assert answer.status == 400
    assert answer.json()["error"]["param"] in query


def test_a_webhook_is_kept_with_its_job_and_not_with_the_request(office: Office) -> None:
    """The runner has the end told; the function that serves never learns where."""
    office.ask(x_headrace_webhook="https://example.com/told?x=1")
    office.deliver()
    ((_, job_id),) = office.queue.messages
    assert office.records.records["acme", job_id].webhook == "https://example.com/told?x=1"
    assert office.notices.sent == [("acme", "job", job_id)]
    assert "x-headrace-webhook" not in office.served[0]["headers"]


@pytest.mark.parametrize("prefer", ["respond-async", "respond-async, wait=5"])
def test_a_webhook_that_cannot_be_told_is_refused_before_anything_is_done(office: Office, prefer: str) -> None:
    """400 at the door, whether a job is certain or not; without the preference the header means nothing."""
    asked: list[InferenceRequest] = []
    office.gateway.primary.respond = lambda request: asked.append(request) or positive(request)  # type: ignore[func-returns-value]
    refused = office.ask(Prefer=prefer, x_headrace_webhook="http://example.com/")
    assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_webhook")
    assert not office.records.records
    assert not asked
    ignored = office.gateway.post("/v1/classifications", BODY, headers={"X-Headrace-Webhook": "http://example.com/"})
    assert ignored.status == 200


def test_this_machine_is_told_only_where_that_is_allowed(office: Office) -> None:
    """The laptop's setting opens loopback, and nothing else."""
    own = {"x_headrace_webhook": "http://127.0.0.1:8080/"}
    assert office.ask(**own).status == 400
    office.gateway.set_jobs(replace(office.jobs, loopback=True))
    assert office.ask(**own).status == 202
    assert office.ask(x_headrace_webhook="http://10.0.0.1:8080/").status == 400


def test_the_same_key_with_another_webhook_is_another_request(office: Office) -> None:
    """Who is told is part of what was asked for."""
    asked = [office.ask(idempotency_key="k", x_headrace_webhook=f"https://example.com/{path}") for path in "aab"]
    assert [answer.status for answer in asked] == [202, 202, 422]
    assert asked[0].headers["location"] == asked[1].headers["location"]
