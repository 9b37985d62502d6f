"""Jobs of an endpoint with asynchronous inference, through `predict`: sent once, found later, told as any answer."""

from dataclasses import replace
from typing import Any

import pytest

from headrace.catalog import AsyncRules, Catalog
from headrace.errors import InvalidRequest, StoreUnavailable, TargetFaulted
from headrace.fakes.asynchronous import FakeAsynchronous
from headrace.fakes.jobs import FakeServer
from headrace.inference import InferenceResponse
from headrace.jobs.asynchronous import MARK, WAITS_HEADER, AsyncRun
from headrace.jobs.runs import Later, Runner
from headrace.plans import Cost
from tests.unit.functions.gateway import Answer
from tests.unit.functions.test_jobs import BODY, Office, positive

WAITS_S = 4_500


class Bureau(Office):
    """An office whose classifier has an asynchronous endpoint."""

    def __init__(self, catalog: Catalog) -> None:
        sentiment = replace(
            catalog.endpoint("sentiment"),
            async_inference=AsyncRules("v1", timeout_s=900, queue_s=3600),
            cost=Cost("gpu_ms", per_item=400, per_s=100),
        )
        super().__init__(replace(catalog, endpoints={**catalog.endpoints, "sentiment": sentiment}))
        self.endpoint = FakeAsynchronous(self.now)
        self.gateway.set_asynchronous(self.endpoint)
        self.gateway.primary.respond = self.nobody

    def runner_over(self, server: FakeServer) -> Runner:
        """A runner that waits for answers."""
        return replace(super().runner_over(server), looks=self.queue)

    @staticmethod
    def nobody(_: Any) -> InferenceResponse:
        """The endpoint for those who wait must not be asked."""
        raise AssertionError

    @property
    def run(self) -> AsyncRun:
        """The one run that was sent."""
        (run,) = self.endpoint.sent
        return run

    def answer(self) -> None:
        """The endpoint has done its work."""
        self.endpoint.outcomes[self.run] = positive(self.endpoint.requests[-1][1])

    def look_again(self) -> Later | None:
        """The last look that was sent."""
        tenant, job_id, after, _ = self.queue.looks[-1]
        return self.runner.run(tenant, job_id, after=after)


@pytest.fixture
def bureau(catalog: Catalog) -> Bureau:
    """A bureau that is open."""
    return Bureau(catalog)


def test_a_job_is_sent_and_its_answer_is_the_routes_own(bureau: Bureau) -> None:
    """Nobody runs between the two; the answer says which version served, and nothing of how."""
    accepted = bureau.ask()
    assert bureau.deliver() == [None]
    assert bureau.look(accepted).json()["state"] == "running"
    assert (bureau.run.tenant, bureau.run.round) == ("acme", 0)
    bureau.answer()
    assert bureau.look_again() is None
    document = bureau.look(accepted).json()
    assert document["state"] == "done"
    assert document["result"]["status"] == 200
    assert document["result"]["body"]["results"][0]["label"] == "positive"
    assert document["result"]["headers"]["x-headrace-served-by"] == "sentiment/v1"
    assert WAITS_HEADER not in document["result"]["headers"]
    assert len(bureau.endpoint.requests) == 1


def test_the_run_is_told_how_long_the_answer_may_take(bureau: Bureau) -> None:
    """A status and a code of its own, for the one who runs jobs."""
    bureau.ask()
    bureau.deliver()
    answer = bureau.gateway.send(bureau.served[0])
    assert (answer.status, answer.json()["error"]["code"]) == (202, "answer_pending")
    assert answer.headers[WAITS_HEADER] == str(WAITS_S)


def test_no_caller_makes_its_request_a_jobs_run(bureau: Bureau) -> None:
    """What a caller writes in headers, query or body is no part of the request's context."""
    bureau.gateway.primary.respond = positive
    mark: dict[str, Any] = {"job": f"job_{'a' * 22}", "round": 0}
    headers = {MARK: str(mark), "x-headrace-job": mark["job"], "requestContext": str(mark)}
    answer: Answer = bureau.gateway.post("/v1/classifications", BODY, headers=headers, query={MARK: str(mark)})
    assert answer.status == 200
    assert not bureau.endpoint.requests


def test_what_the_model_refuses_is_the_answer(bureau: Bureau) -> None:
    """A wrong request is wrong however it is served."""
    accepted = bureau.ask()
    bureau.deliver()
    bureau.endpoint.outcomes[bureau.run] = InvalidRequest("The input is empty.", code="empty")
    assert bureau.look_again() is None
    result = bureau.look(accepted).json()["result"]
    assert (result["status"], result["body"]["error"]["code"]) == (400, "empty")


@pytest.mark.parametrize("outcome", [TargetFaulted("It broke."), InferenceResponse(outputs=())])
def test_a_failure_or_a_wrong_answer_is_sent_again(bureau: Bureau, outcome: Any) -> None:
    """Validated as always: what does not hold is an attempt, and the next round a new request."""
    bureau.ask()
    bureau.deliver()
    bureau.endpoint.outcomes[bureau.run] = outcome
    assert isinstance(bureau.look_again(), Later)
    bureau.deliver()
    assert [run.round for run in bureau.endpoint.sent] == [0, 1]


def test_an_answer_that_does_not_come_is_an_attempt(bureau: Bureau) -> None:
    """When the endpoint's own time is over the job is told so; it is too old by then to be sent again."""
    accepted = bureau.ask()
    bureau.deliver()
    bureau.gateway.now += WAITS_S
    assert bureau.look_again() == Later(0.0)
    assert bureau.look(accepted).json()["state"] == "failed"


def test_an_endpoint_that_takes_nothing_is_tried_again(bureau: Bureau) -> None:
    """Nothing was sent, and no other target stands in."""
    bureau.endpoint.down = True
    accepted = bureau.ask()
    assert all(isinstance(later, Later) for later in bureau.deliver())
    assert bureau.look(accepted).json()["code"] == "temporarily_unavailable"
    bureau.endpoint.down = False
    bureau.deliver()
    assert bureau.run.round == 0


def test_what_cannot_be_looked_up_is_not_sent_again(bureau: Bureau) -> None:
    """While the bucket is away nobody knows what came of the request: the round stays."""
    bureau.ask()
    bureau.deliver()
    run = bureau.run
    bureau.endpoint.outcomes[run] = StoreUnavailable("away")
    assert isinstance(bureau.look_again(), Later)
    bureau.answer()
    bureau.deliver()
    assert len(bureau.endpoint.requests) == 1
    assert bureau.records.records["acme", run.job_id].state == "done"


def test_a_job_is_paid_for_when_it_is_sent(bureau: Bureau) -> None:
    """Looks cost nothing; a budget that is used up keeps the next request from being sent."""
    bureau.gateway.plan = "free"
    for _ in range(3):
        bureau.ask()
        bureau.deliver()
    assert len(bureau.endpoint.requests) == 2  # 450 of 1000 units each
    for _ in range(5):
        bureau.look_again()
    assert len(bureau.endpoint.requests) == 2


def test_what_another_version_serves_is_not_sent(bureau: Bureau) -> None:
    """A job whose needs the one hosted version does not meet is served as if its caller waited."""
    bureau.gateway.primary.respond = positive
    sentiment = bureau.gateway.catalog.endpoint("sentiment")
    (hosted,) = sentiment.hosted
    small = replace(hosted, capabilities=replace(hosted.capabilities, tenants=("other",)))
    versions = (small, replace(hosted, name="v2"), *(v for v in sentiment.versions if v.hosting == "function"))
    bureau.gateway.catalog.endpoints["sentiment"] = replace(sentiment, versions=versions)
    accepted = bureau.ask()
    assert bureau.deliver() == [None]
    result = bureau.look(accepted).json()["result"]
    assert result["headers"]["x-headrace-served-by"] == "sentiment/v2"
    assert not bureau.endpoint.requests
