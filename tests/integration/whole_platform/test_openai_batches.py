"""OpenAI's SDK, unmodified, from a file on disk to results: nothing but its base URL says that this is not OpenAI."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.integration.whole_platform.conftest import Platform

pytestmark = [pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(180)]

URL: Any = "/v1/classifications"
"""A path that the SDK's types do not know."""
OVER = {"completed", "failed", "cancelled", "expired"}
TEXTS = ("I love this airline, the crew was fantastic!", "Worst flight ever, my bag is lost again.")
PAUSE_S = 0.3


@pytest.fixture
def client(healthy: Platform) -> Iterator[openai.OpenAI]:
    """The SDK as anybody uses it, with its own retries."""
    with openai.OpenAI(api_key=healthy.stack.api_key, base_url=f"{healthy.stack.url}/v1") as made:
        yield made


def file_of(folder: Path, bodies: list[dict[str, Any]]) -> Path:
    """A file of requests, one for each body."""
    rows = [
        {"custom_id": f"r{number}", "method": "POST", "url": URL, "body": body} for number, body in enumerate(bodies)
    ]
    path = folder / "requests.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def wait_for(client: openai.OpenAI, batch: openai.types.Batch) -> openai.types.Batch:
    """The batch once it is over; the test's own timeout bounds this."""
    while batch.status not in OVER:
        time.sleep(PAUSE_S)
        batch = client.batches.retrieve(batch.id)
    return batch


def lines_of(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    """Each line of a result file by its custom_id."""
    assert file_id is not None
    lines = [json.loads(line) for line in client.files.content(file_id).text.splitlines()]
    return {line["custom_id"]: line for line in lines}


def test_from_a_file_to_results(client: openai.OpenAI, tmp_path: Path) -> None:
    """Upload, begin, wait, fetch: good records have a response as the online route gives it, bad ones an error."""
    bodies: list[dict[str, Any]] = [{"input": TEXTS[number % 2]} for number in range(20)]
    bodies[7] = {"nothing": "useful"}
    file = client.files.create(file=file_of(tmp_path, bodies), purpose="batch")
    assert client.files.wait_for_processing(file.id).status == "processed"
    batch = client.batches.create(
        input_file_id=file.id, endpoint=URL, completion_window="24h", metadata={"run": "nightly"}
    )
    done = wait_for(client, batch)
    assert (done.status, done.metadata) == ("completed", {"run": "nightly"})
    assert done.request_counts is not None
    assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (20, 19, 1)
    results = lines_of(client, done.output_file_id)
    errors = lines_of(client, done.error_file_id)
    assert set(results) == {f"r{number}" for number in range(20)} - {"r7"}
    assert set(errors) == {"r7"}
    for number in (0, 1, 19):
        answer = results[f"r{number}"]["response"]
        assert answer["status_code"] == 200
        online: Any = client.post(URL.removeprefix("/v1"), body={"input": TEXTS[number % 2]}, cast_to=object)
        assert answer["body"]["results"][0]["label"] == online["results"][0]["label"]
    assert done.id in [listed.id for listed in client.batches.list(limit=5)]
    assert {file.id, done.output_file_id} <= {listed.id for listed in client.files.list(limit=3)}
    assert client.files.delete(file.id).deleted


def test_what_cannot_work_is_the_sdks_own_error(client: openai.OpenAI, tmp_path: Path) -> None:
    """Refused at the door with a code, and not begun."""
    file = client.files.create(file=file_of(tmp_path, [{"input": TEXTS[0]}]), purpose="batch")
    endpoint: Any = "/v1/embeddings"
    with pytest.raises(openai.BadRequestError) as told:
        client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")
    assert told.value.code == "unsupported_endpoint"
    with pytest.raises(openai.NotFoundError):
        client.batches.cancel("batch_nothing")


def test_a_cancelled_batch_keeps_what_is_finished(client: openai.OpenAI, tmp_path: Path) -> None:
    """However far it was: what is told adds up, and cancelling again changes nothing."""
    bodies = [{"input": f"{TEXTS[number % 2]} {number}"} for number in range(3_000)]
    file = client.files.create(file=file_of(tmp_path, bodies), purpose="batch")
    batch = client.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")
    assert client.batches.cancel(batch.id).status in {"cancelling", "cancelled"}
    done = wait_for(client, batch)
    assert done.status in {"cancelled", "completed"}
    if done.status == "cancelled":
        assert done.cancelled_at
        assert client.batches.cancel(batch.id).status == "cancelled"
