"""OpenAI's SDK, unmodified, against `/v1/files` and `/v1/batches`: only its transport leads into the application."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from headrace.batches.states import Counts
from headrace.catalog import Catalog
from headrace.files.files import File, output_id
from tests.unit.functions.gateway import event_of
from tests.unit.functions.office import LINES, Office

RESULTS = b'{"id": "r", "custom_id": "a", "response": {"status_code": 200, "body": {}}, "error": null}\n'


class IntoTheGateway(httpx2.BaseTransport):
    """Makes a proxy event of each request, as API Gateway does, and of what the application answers a response."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.elsewhere: list[str] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """One request."""
        if request.url.host != "gateway.test":
            self.elsewhere.append(str(request.url))
            assert "authorization" not in request.headers
            return httpx2.Response(200, content=RESULTS)
        body = request.read()
        query = dict(request.url.params)
        event = event_of("classify")
        event.update(
            path=request.url.path,
            httpMethod=request.method,
            headers=dict(request.headers),
            multiValueHeaders={name: [value] for name, value in request.headers.items()},
            queryStringParameters=query,
            multiValueQueryStringParameters={name: [value] for name, value in query.items()},
            body=base64.b64encode(body).decode(),
        )
        event["requestContext"]["httpMethod"] = request.method
        event["requestContext"]["authorizer"].update(plan="standard", tenant="acme", scopes="invoke read")
        answer = self.office.gateway.send(event)
        headers: Any = {name: value for name, value in answer.headers.items() if name != "content-length"}
        return httpx2.Response(answer.status, headers=headers, content=answer.body)


@pytest.fixture
def office(catalog: Catalog) -> Office:
    """Where files and batches are taken."""
    return Office(catalog)


@pytest.fixture
def transport(office: Office) -> IntoTheGateway:
    """The way there."""
    return IntoTheGateway(office)


@pytest.fixture
def client(transport: IntoTheGateway) -> Iterator[openai.OpenAI]:
    """The SDK as anybody uses it."""
    http = httpx2.Client(transport=transport, follow_redirects=True)
    with openai.OpenAI(api_key="k", base_url="https://gateway.test/v1", http_client=http, max_retries=0) as made:
        yield made


def begin(client: openai.OpenAI, file_id: str) -> openai.types.Batch:
    """A batch as the SDK begins it; the path is one that its types do not know."""
    endpoint: Any = "/v1/classifications"
    return client.batches.create(
        input_file_id=file_id, endpoint=endpoint, completion_window="24h", metadata={"run": "7"}
    )


def test_files(client: openai.OpenAI, office: Office) -> None:
    """Created, waited for, looked at, listed through pages, read, deleted."""
    made = client.files.create(file=("in.jsonl", LINES), purpose="batch")
    assert (made.object, made.bytes, made.purpose, made.status) == ("file", len(LINES), "batch", "processed")
    assert client.files.wait_for_processing(made.id).id == made.id
    assert client.files.retrieve(made.id).filename == "in.jsonl"
    assert client.files.content(made.id).read() == LINES
    office.gateway.now += 1
    others = [client.files.create(file=(f"{number}.jsonl", LINES), purpose="batch").id for number in range(4)]
    assert {file.id for file in client.files.list(limit=2)} == {made.id, *others}
    assert list(client.files.list(purpose="batch_output")) == []
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as told:
        client.files.retrieve(made.id)
    assert told.value.code == "file_not_found"


def test_batches(client: openai.OpenAI, office: Office, transport: IntoTheGateway) -> None:
    """Created, looked at until it is completed, listed, and its results fetched, small ones and large ones."""
    file = client.files.create(file=("in.jsonl", LINES), purpose="batch")
    made = begin(client, file.id)
    assert (made.object, made.status, made.input_file_id, made.metadata) == (
        "batch",
        "validating",
        file.id,
        {"run": "7"},
    )
    office.move(made.id, "in_progress", counts=Counts(1), shards=1)
    running = client.batches.retrieve(made.id)
    assert running.status == "in_progress"
    assert running.request_counts is not None
    assert running.request_counts.total == 1
    result_id = output_id(made.id, "results")
    version = office.uploads.arrive("batches", "r", RESULTS)
    results = File("acme", result_id, "results.jsonl", "batch_output", "batches", "r", office.gateway.now, version, 9)
    office.files.put(results)
    office.move(made.id, "completed", counts=Counts(1, 1), output_file_id=result_id)
    done = client.batches.retrieve(made.id)
    assert (done.status, done.output_file_id, done.error_file_id) == ("completed", result_id, None)
    assert done.completed_at
    assert client.files.content(result_id).text == RESULTS.decode()
    office.files.put(File("acme", result_id, "r", "batch_output", "batches", "r", office.gateway.now, version, 1 << 30))
    assert client.files.content(result_id).text == RESULTS.decode()
    assert len(transport.elsewhere) == 1
    for _ in range(4):
        office.gateway.now += 1
        begin(client, file.id)
    assert len({batch.id for batch in client.batches.list(limit=2)}) == 5


def test_cancelling(client: openai.OpenAI) -> None:
    """And what is refused arrives as the SDK's own errors."""
    made = begin(client, client.files.create(file=("in.jsonl", LINES), purpose="batch").id)
    assert client.batches.cancel(made.id).status == "cancelling"
    with pytest.raises(openai.NotFoundError):
        client.batches.retrieve("batch_nothing")
    with pytest.raises(openai.BadRequestError) as told:
        client.files.create(file=("in.jsonl", LINES), purpose="fine-tune")
    assert told.value.code == "wrong_purpose"


def test_a_failed_batch(client: openai.OpenAI, office: Office) -> None:
    """The problems of the file are where the SDK looks for them."""
    made = begin(client, client.files.create(file=("in.jsonl", LINES), purpose="batch").id)
    office.move(made.id, "failed")
    failed = client.batches.retrieve(made.id)
    assert (failed.status, failed.errors) == ("failed", None)
    assert failed.failed_at
