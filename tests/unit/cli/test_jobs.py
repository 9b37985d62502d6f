"""`headrace jobs`, `files` and `models`, and what the program is before any command runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_headrace import FILE_ID, JOB_ID, FakeHeadrace

DONE = {
    "id": JOB_ID,
    "state": "done",
    "code": None,
    "result": {"status": 200, "headers": {}, "body": {"label": "good"}},
}
QUEUED = {"id": JOB_ID, "state": "queued", "code": None, "result": None}


def test_a_job_is_submitted_with_its_preference(cli: Cli, server: FakeHeadrace) -> None:
    """The id alone on stdout; the request says that it is for later, for which model, and arrives once."""
    options = ("--version", "v1", "--webhook", "https://a.test/")
    result = cli("jobs", "submit", "-", "-e", "sentiment", *options, stdin='{"input": "late"}')
    assert result.stdout == f"{JOB_ID}\n"
    [request] = server.sent("POST", "/v1/classifications")
    assert json.loads(request.content) == {"model": "sentiment", "input": "late"}
    assert request.headers["prefer"] == "respond-async"
    assert request.headers["x-headrace-version"] == "v1"
    assert request.headers["x-headrace-webhook"] == "https://a.test/"
    assert request.headers["idempotency-key"]


def test_a_picture_is_sent_as_it_is(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """The model stands in the query, the type comes from the name."""
    (tmp_path / "dog.JPG").write_bytes(b"\xff\xd8")
    assert cli("jobs", "submit", tmp_path / "dog.JPG", "-e", "detection").exit_code == 0
    [request] = server.sent("POST", "/v1/detections")
    assert (request.content, request.headers["content-type"]) == (b"\xff\xd8", "image/jpeg")
    assert request.url.params["model"] == "detection"


@pytest.mark.parametrize("body", ["nonsense", "[1]", "{"])
def test_a_body_that_is_no_object_is_not_sent(cli: Cli, server: FakeHeadrace, body: str) -> None:
    """A usage error."""
    assert cli("jobs", "submit", "-", "-e", "sentiment", stdin=body).exit_code == 2
    assert not server.sent("POST", "/v1/classifications")


def test_wait_prints_the_answer(cli: Cli, server: FakeHeadrace) -> None:
    """It looks with long polls until the job is over; stdout is the answer's body."""
    server.jobs = [QUEUED, {**QUEUED, "state": "running"}, DONE]
    result = cli("jobs", "wait", JOB_ID)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"label": "good"}
    assert all(request.headers["prefer"] == "wait=20" for request in server.requests)


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({**QUEUED, "state": "failed", "code": "overloaded"}, "failed (overloaded)"),
        ({**QUEUED, "state": "cancelled"}, "cancelled"),
        ({**DONE, "result": {"status": 400, "body": {"error": 1}}}, ""),
    ],
    ids=["failed", "cancelled", "refused"],
)
def test_a_job_without_a_good_answer_is_a_failure(
    cli: Cli, server: FakeHeadrace, job: dict[str, object], words: str
) -> None:
    """The exit status is 1."""
    server.jobs = [job]
    result = cli("jobs", "wait", JOB_ID)
    assert result.exit_code == 1
    assert words in result.stderr


def test_bytes_are_printed_as_bytes(cli: Cli, server: FakeHeadrace) -> None:
    """An answer that is no JSON comes in base64, and goes out as it was."""
    server.jobs = [{**DONE, "result": {"status": 200, "body": None, "body_base64": "/wA="}}]
    assert cli("jobs", "wait", JOB_ID).stdout_bytes == b"\xff\x00"


def test_json_on_a_terminal_carries_no_control(cli: Cli, server: FakeHeadrace) -> None:
    """Signs that a terminal obeys are escaped, and the document stays the same."""
    server.jobs = [{**DONE, "code": "é\x9b2J\x7f\U000e0001"}]
    result = cli("jobs", "get", JOB_ID)
    assert json.loads(result.stdout) == server.jobs[0]
    assert all(sign.isprintable() or sign == "\n" for sign in result.stdout)


def test_files_that_are_not_there_are_told(cli: Cli) -> None:
    """The API's own words."""
    result = cli("files", "delete", FILE_ID)
    assert result.exit_code == 1
    assert "not_found: There is no such thing." in result.stderr


def test_models_are_listed(cli: Cli) -> None:
    """Name, task and versions."""
    assert cli("models").stdout == "sentiment\ttext-classification\tv1 v2\tmade up\n"
    assert json.loads(cli("models", "--json").stdout)["data"][0]["id"] == "sentiment"


@pytest.mark.parametrize(("state", "status"), [("cancelled", 0), ("running", 1), ("done", 1)])
def test_a_cancelled_job_is_told(cli: Cli, server: FakeHeadrace, state: str, status: int) -> None:
    """A job that has begun is not dropped: its state says so, and the exit status."""
    server.jobs = [{**QUEUED, "state": state}]
    result = cli("jobs", "cancel", JOB_ID)
    assert (result.stdout, result.exit_code) == (f"{JOB_ID}: {state}\n", status)


def test_jobs_are_listed(cli: Cli, server: FakeHeadrace) -> None:
    """The next page begins behind the id that the service names, which a narrow key may not see."""
    server.jobs = [{**QUEUED, "state": "failed", "code": "overloaded"}]
    result = cli("jobs", "list")
    assert result.stdout == f"{JOB_ID}\tfailed\toverloaded\t\n"
    assert "--after job_last" in result.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["batch", "submit", "--help"], ["--version"]])
def test_help_loads_neither_http_nor_drawing(arguments: list[str]) -> None:
    """What takes long to import is imported by the commands that need it."""
    code = (
        "import sys\nfrom headrace_cli.main import app\n"
        f"try: app({arguments!r})\n"
        "except SystemExit: pass\n"
        "print(sorted({'httpx', 'rich', 'keyring', 'platformdirs'} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr.strip() == "[]"
