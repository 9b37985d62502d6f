"""A request that becomes a job: accepted by `predict`, served by `predict`, looked at through `predict`."""

import base64
import json
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from headrace.catalog import Catalog
from headrace.errors import StoreUnavailable
from headrace.fakes.jobs import FakeJobObjects, FakeJobQueue, FakeJobRecords, FakeServer
from headrace.fakes.targets import unavailable
from headrace.inference import InferenceRequest, InferenceResponse, Tensor
from headrace.jobs.offers import Jobs
from headrace.jobs.runs import Later, Runner
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
        jobs = Jobs(
            self.records,
            self.objects,
            self.queue,
            self.now,
            self.sleep,
            lambda size: next(ids).to_bytes(size, "big"),
        )
        self.gateway.set_jobs(jobs)
        self.runner = Runner(self.records, self.objects, FakeServer(self.serve), self.now, lambda: 0.5)

    def now(self) -> float:
        """The gateway's clock."""
        return self.gateway.now

    def sleep(self, seconds: float) -> None:
        """Time passes, and somebody else serves what is in the queue meanwhile."""
        self.gateway.now += seconds
        elsewhere = FakeServer(lambda _: {"statusCode": 200, "headers": {}, "body": "done elsewhere"})
        for tenant, job_id in self.queue.messages:
            Runner(self.records, self.objects, elsewhere, self.now, lambda: 0.5).run(tenant, job_id)

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

    assert office.gateway.jobs is not None
    office.gateway.set_jobs(Jobs(office.records, office.objects, Down(), office.now, office.sleep, bytes))
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
