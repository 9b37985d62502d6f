"""`headrace batch`: what is sent, what is printed where, and the exit status."""

import json
from pathlib import Path

import httpx
import pytest

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_headrace import (
    BATCH_ID,
    ERROR_ID,
    FILE_ID,
    OUTPUT_ID,
    REQUEST_ID,
    STORE,
    FakeHeadrace,
    Trouble,
    batch,
    refusal,
)

ROWS = b"text\nlate again\nlovely crew\n"


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    """A small file."""
    path = tmp_path / "tweets.csv"
    path.write_bytes(ROWS)
    return path


def test_submit_uploads_the_file_and_prints_the_id_alone(cli: Cli, server: FakeHeadrace, tweets: Path) -> None:
    """Stdout is the batch's id and nothing else; the store got the file's bytes, and not the key."""
    result = cli("batch", "submit", tweets, "--endpoint", "sentiment")
    assert result.exit_code == 0
    assert result.stdout == f"{BATCH_ID}\n"
    assert server.stored == ROWS
    posts = [request for request in server.requests if str(request.url).startswith(STORE)]
    assert posts
    assert all("x-api-key" not in request.headers for request in posts)


def test_submit_sends_what_was_asked_for(cli: Cli, server: FakeHeadrace, tweets: Path) -> None:
    """The model's task gives the path; options that were not given are left to the service."""
    options = ("--version", "v2", "--format", "csv", "--method", "map", "--no-degraded", "--webhook", "https://a.test/")
    more = ("--metadata", "team=a=b", "--metadata", "run=7", "--parameter", "threshold=0.5")
    cli("batch", "submit", tweets, "-e", "sentiment", *options, *more)
    [body] = server.begun.values()
    assert body == {
        "input_file_id": FILE_ID,
        "endpoint": "/v1/classifications",
        "completion_window": "24h",
        "model": "sentiment",
        "version": "v2",
        "format": "csv",
        "method": "map",
        "degraded": False,
        "webhook": "https://a.test/",
        "parameters": {"threshold": 0.5},
        "metadata": {"team": "a=b", "run": "7"},
    }
    cli("batch", "submit", tweets, "-e", "sentiment")
    assert set(list(server.begun.values())[1]) == {"input_file_id", "endpoint", "completion_window", "model"}


def test_a_lost_answer_begins_one_batch(cli: Cli, server: FakeHeadrace, tweets: Path) -> None:
    """The request is sent again under the key of the first one."""
    server.after["POST https://api.test/v1/batches"] = [httpx.ReadError, httpx.ReadTimeout]
    result = cli("batch", "submit", tweets, "-e", "sentiment")
    assert result.stdout == f"{BATCH_ID}\n"
    assert len(server.sent("POST", "/v1/batches")) == 3
    assert len(server.begun) == 1


@pytest.mark.parametrize(
    ("lost", "status"),
    [([httpx.ReadError] * 6, 1), ([httpx.Response(502) for _ in range(6)], 1), ([KeyboardInterrupt], 130)],
    ids=["no answer", "the gateway's", "Ctrl-C"],
)
def test_when_no_answer_comes_at_all_it_says_how_to_begin_the_same_batch(
    cli: Cli, server: FakeHeadrace, tweets: Path, lost: list[Trouble], status: int
) -> None:
    """The printed command has the uploaded file and the very key, so it begins the batch at most once."""
    server.after["POST https://api.test/v1/batches"] = lost
    result = cli("batch", "submit", tweets, "-e", "sentiment")
    assert result.exit_code == status
    assert result.stdout == ""
    command = result.stderr.split("\nheadrace ")[1].splitlines()[0].split()
    again = cli(*command)
    assert again.stdout == f"{BATCH_ID}\n"
    assert len(server.begun) == 1
    assert len(server.sent("POST", "/v1/files")) == 1


@pytest.mark.parametrize(
    ("look", "status"),
    [
        (batch("completed", done=10), 0),
        (batch("completed", done=9, failed=1), 3),
        (batch("failed", done=3), 1),
        (batch("cancelled", done=3), 1),
        (batch("expired", done=3), 1),
    ],
    ids=["whole", "with errors", "failed", "cancelled", "expired"],
)
def test_the_exit_status_of_a_watched_batch(
    cli: Cli, server: FakeHeadrace, tweets: Path, look: dict[str, object], status: int
) -> None:
    """0 whole, 3 with records in errors, 1 everything else; the id is still the first line."""
    server.looks = [batch("validating", total=0), batch(done=4), look]
    result = cli("batch", "submit", tweets, "-e", "sentiment", "--watch")
    assert result.exit_code == status
    assert result.stdout == f"{BATCH_ID}\n"
    assert str(look["status"]) in result.stderr


def test_submit_with_out_leaves_results_and_errors(cli: Cli, server: FakeHeadrace, tweets: Path) -> None:
    """`--out DIR` waits for the end and puts both files there."""
    server.looks = [batch("completed", done=9, failed=1, output_file_id=OUTPUT_ID, error_file_id=ERROR_ID)]
    server.contents = {OUTPUT_ID: b"r" * 500, ERROR_ID: b"e"}
    folder = tweets.parent / "out"
    assert cli("batch", "submit", tweets, "-e", "sentiment", "--out", folder).exit_code == 3
    assert (folder / f"{BATCH_ID}.results.jsonl").read_bytes() == b"r" * 500
    assert (folder / f"{BATCH_ID}.errors.jsonl").read_bytes() == b"e"


def test_results_never_meet_a_file_where_their_folder_should_be(cli: Cli, server: FakeHeadrace, tweets: Path) -> None:
    """`--out` that is a file is a wrong command line, told before anything is uploaded."""
    result = cli("batch", "submit", tweets, "-e", "sentiment", "--out", tweets)
    assert (result.exit_code, "no folder" in result.stderr) == (2, True)
    assert not server.requests


@pytest.mark.parametrize("bad", ["no-equals", "=value", "a=1 a=2"])
def test_metadata_that_is_no_pair_is_a_usage_error(cli: Cli, server: FakeHeadrace, tweets: Path, bad: str) -> None:
    """Nothing is asked before the options are in order; the exit status is 2."""
    pairs = [part for text in bad.split() for part in ("--metadata", text)]
    assert cli("batch", "submit", tweets, "-e", "sentiment", *pairs).exit_code == 2
    assert cli("batch", "submit", tweets, "-e", "sentiment", "--parameter", "threshold=high").exit_code == 2
    assert not server.requests


def test_a_file_that_is_not_there_or_empty_is_told(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """No file is a usage error; an empty one is refused before it is uploaded."""
    assert cli("batch", "submit", tmp_path / "none.csv", "-e", "sentiment").exit_code == 2
    (tmp_path / "empty.csv").touch()
    result = cli("batch", "submit", tmp_path / "empty.csv", "-e", "sentiment")
    assert result.exit_code == 1
    assert "empty" in result.stderr
    assert not server.begun


def test_status_tells_people_and_programs(cli: Cli, server: FakeHeadrace) -> None:
    """A sentence with counts, rate, what is left and the plan's reason; with --json the document itself."""
    server.looks = [batch(done=3, failed=1, total=1000, eta_s=125, paused="online_busy")]
    words = cli("batch", "status", BATCH_ID).stdout
    for part in (
        "in_progress",
        "4 of 1,000 records",
        "1 error,",
        "5/s",
        "2 min 05 s left",
        "online_busy",
        "few records",
    ):
        assert part in words
    assert json.loads(cli("batch", "status", BATCH_ID, "--json").stdout) == server.looks[0]


def test_status_of_a_failed_batch_is_no_failure_of_the_command(cli: Cli, server: FakeHeadrace) -> None:
    """Without --watch the status only tells; problems of the file and the way on are named."""
    problems = {"data": [{"code": "csv_missing_column", "message": "There is no column text.", "line": 1}]}
    server.looks = [batch("failed", errors=problems, redrivable=True)]
    result = cli("batch", "status", BATCH_ID)
    assert result.exit_code == 0
    assert "csv_missing_column: There is no column text. (line 1)" in result.stdout
    assert f"headrace batch redrive {BATCH_ID}" in result.stdout


def test_the_end_is_told_with_all_that_is_known(cli: Cli, server: FakeHeadrace) -> None:
    """How long it took and at which rate, stand-ins, and the estimate of the cost."""
    cost = {"unit": "gpu_ms", "estimate": 12345}
    moments = {"in_progress_at": 1000, "completed_at": 1083}
    server.looks = [batch("completed", done=10, degraded=2, cost=cost, **moments)]
    words = cli("batch", "status", BATCH_ID).stdout
    for part in ("5/s", "in 1 min 23 s", "2 answered by stand-ins", "about 12,345 gpu_ms"):
        assert part in words
    assert json.loads(cli("batch", "report", BATCH_ID).stdout) == {"records": 10}


def test_cancel_and_redrive_may_arrive_twice(cli: Cli, server: FakeHeadrace) -> None:
    """Both are asked under a key, so a lost answer is asked for again."""
    server.after = {f"POST https://api.test/v1/batches/{BATCH_ID}": [httpx.ReadError, httpx.ReadError]}
    assert "cancelling" in cli("batch", "cancel", BATCH_ID).stdout
    assert cli("batch", "redrive", BATCH_ID).exit_code == 0
    keys = [request.headers["idempotency-key"] for request in server.sent("POST", f"/v1/batches/{BATCH_ID}/cancel")]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_redrive_can_be_watched(cli: Cli, server: FakeHeadrace) -> None:
    """The exit status is that of the end."""
    server.looks = [batch(done=3), batch("completed", done=10)]
    assert cli("batch", "redrive", BATCH_ID, "--watch").exit_code == 0


def test_list_is_lines_with_tabs_in_a_pipe(cli: Cli) -> None:
    """A program gets plain fields; a person is told how to see more."""
    result = cli("batch", "list")
    assert result.stdout.split("\t")[:3] == [BATCH_ID, "completed", "sentiment"]
    assert f"--after {BATCH_ID}" in result.stderr


def test_results_go_to_a_file_or_to_stdout(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """The file has its name only when it is whole, and no draft is left; - is stdout, with nothing else on it."""
    server.contents = {OUTPUT_ID: b"\xff\n" * 300}
    path = tmp_path / "results.jsonl"
    assert cli("batch", "results", BATCH_ID, "--out", path).exit_code == 0
    assert path.read_bytes() == b"\xff\n" * 300
    assert [entry.name for entry in tmp_path.iterdir()] == ["results.jsonl"]
    assert cli("batch", "results", BATCH_ID, "--out", "-").stdout_bytes == b"\xff\n" * 300


def test_results_that_are_not_there_are_told(cli: Cli, server: FakeHeadrace) -> None:
    """A batch that still runs, and one without errors, are refused in words; the exit status is 1."""
    server.looks = [batch(done=3)]
    result = cli("batch", "results", BATCH_ID)
    assert result.exit_code == 1
    assert "yet" in result.stderr
    server.looks = [batch("completed", done=10)]
    result = cli("batch", "results", BATCH_ID, "--errors")
    assert result.exit_code == 1
    assert "There are no errors: the batch is completed." in result.stderr


def test_a_refusal_is_one_line(cli: Cli, server: FakeHeadrace) -> None:
    """Code, message and request id, no traceback; what a terminal would obey is left out."""
    server.trouble["GET"] = [refusal(403, "missing_scope", "The key \x1b[31mmay not\x07 read.")]
    result = cli("batch", "status", BATCH_ID)
    assert result.exit_code == 1
    assert result.stderr == f"headrace: missing_scope: The key [31mmay not read. (request id {REQUEST_ID})\n"


def test_an_id_is_one_segment_whatever_it_is(cli: Cli, server: FakeHeadrace) -> None:
    """An argument cannot reach another path of the API."""
    server.trouble["GET"] = [refusal(404, "batch_not_found", "There is no such batch.")]
    cli("batch", "status", "../models?x=1")
    assert server.requests[-1].url.raw_path == b"/v1/batches/..%2Fmodels%3Fx%3D1"
