"""Files on their way up and down, over connections that break."""

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_headrace import API, FILE_ID, OUTPUT_ID, STORE, Broken, FakeHeadrace

STORED = f"GET {STORE}/{OUTPUT_ID}"
CONTENT = bytes(range(256)) * 4


def broken(data: bytes, status: int = 200, etag: str = '"1"') -> httpx.Response:
    """An answer that breaks off."""
    headers = {"etag": etag, "content-length": str(len(CONTENT))}
    return httpx.Response(status, stream=Broken(data), headers=headers)


def fetch(cli: Cli, folder: Path) -> tuple[int, bytes | None, str]:
    """Fetches the output: exit status, what lies there, and what was said."""
    path = folder / "content"
    result = cli("files", "get", OUTPUT_ID, "--out", path)
    return result.exit_code, path.read_bytes() if path.exists() else None, result.stderr


def test_a_download_goes_on_where_it_broke(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """The second request asks for the rest of the very same object, at a new address; the key stays at home."""
    server.contents = {OUTPUT_ID: CONTENT}
    server.trouble[STORED] = [broken(CONTENT[:300])]
    assert fetch(cli, tmp_path)[:2] == (0, CONTENT)
    first, second = server.sent("GET", f"/{OUTPUT_ID}")
    assert "range" not in first.headers
    assert (second.headers["range"], second.headers["if-match"]) == ("bytes=300-", '"1"')
    assert "x-api-key" not in second.headers
    assert len(server.sent("GET", f"/v1/files/{OUTPUT_ID}/content")) == 2


def test_a_store_that_knows_no_ranges_is_read_from_the_start(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """What was written already is passed over, so that stdout gets every byte once as well."""
    server.contents = {OUTPUT_ID: CONTENT}
    whole = {"etag": '"1"', "content-length": str(len(CONTENT))}
    for _ in range(2):
        again = httpx.Response(200, stream=httpx.ByteStream(CONTENT), headers=whole)
        server.trouble.setdefault(STORED, []).extend((broken(CONTENT[:300]), again))
    assert fetch(cli, tmp_path)[:2] == (0, CONTENT)
    assert cli("files", "get", OUTPUT_ID, "--out", "-").stdout_bytes == CONTENT


@pytest.mark.parametrize(
    "second",
    [httpx.Response(412), httpx.Response(206, content=b"other", headers={"etag": '"2"', "content-length": "5"})],
    ids=["refused by the store", "seen by its tag"],
)
def test_an_object_that_was_replaced_is_not_mixed(
    cli: Cli, server: FakeHeadrace, tmp_path: Path, second: httpx.Response
) -> None:
    """Half of one and half of another would look whole: nothing is left on disk."""
    server.contents = {OUTPUT_ID: CONTENT}
    server.trouble[STORED] = [broken(CONTENT[:300]), second]
    code, found, words = fetch(cli, tmp_path)
    assert (code, found) == (1, None)
    assert "replaced" in words
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_has_ended_is_asked_for_again(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """The store's 403 means that the address is too old."""
    server.contents = {OUTPUT_ID: CONTENT}
    server.trouble[STORED] = [httpx.Response(403)]
    assert fetch(cli, tmp_path)[:2] == (0, CONTENT)


def test_a_download_that_never_moves_is_given_up(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """After a few attempts without a byte; an older file of the name stands."""
    server.contents = {OUTPUT_ID: CONTENT}
    server.trouble[STORED] = [httpx.ReadError] * 20
    (tmp_path / "content").write_bytes(b"older")
    code, found, words = fetch(cli, tmp_path)
    assert (code, found) == (1, b"older")
    assert "broke off after 0 bytes" in words
    assert [entry.name for entry in tmp_path.iterdir()] == ["content"]


def test_an_upload_is_sent_again_whole(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """A post that broke, or that the store could not take, is repeated from the file's first byte."""
    path = tmp_path / "tweets.csv"
    path.write_bytes(CONTENT * 100)
    server.trouble[f"POST {STORE}"] = [httpx.WriteError("broken"), httpx.Response(503)]
    result = cli("files", "upload", path)
    assert result.stdout == f"{FILE_ID}\n"
    assert server.stored == CONTENT * 100


def test_a_store_that_refuses_an_upload_is_quoted_by_its_code(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """S3's code tells the reason; the rest of its answer is not printed."""
    path = tmp_path / "tweets.csv"
    path.write_bytes(b"x")
    answer = b"<Error><Code>EntityTooLarge</Code><Message>secret</Message></Error>"
    server.trouble[f"POST {STORE}"] = [httpx.Response(400, content=answer)]
    result = cli("files", "upload", path)
    assert result.exit_code == 1
    assert result.stderr == "headrace: Storage refused the upload (EntityTooLarge): try again.\n"


def test_an_invitation_that_was_lost_is_asked_for_under_the_same_key(
    cli: Cli, server: FakeHeadrace, tmp_path: Path
) -> None:
    """One file is made, however often the request is sent."""
    path = tmp_path / "tweets.csv"
    path.write_bytes(b"x")
    server.after[f"POST {API}/v1/files"] = [httpx.ReadError]
    assert cli("files", "upload", path).exit_code == 0
    assert len({request.headers["idempotency-key"] for request in server.sent("POST", "/v1/files")}) == 1


def test_a_disk_that_cannot_be_written_is_told(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """An error of the operating system is one line, too."""
    server.contents = {OUTPUT_ID: CONTENT}
    (tmp_path / "folder").write_bytes(b"a file in the way")
    result = cli("files", "get", OUTPUT_ID, "--out", tmp_path / "folder" / "content")
    assert result.exit_code == 1
    assert result.stderr.startswith("headrace: ")
    assert result.stderr.count("\n") == 1


def test_what_is_no_file_is_written_to_and_stays(cli: Cli, server: FakeHeadrace, tmp_path: Path) -> None:
    """A device or a pipe under the name is never replaced, and neither is a link: its file is; a folder is refused."""
    server.contents = {OUTPUT_ID: CONTENT}
    pipe, link, real = tmp_path / "pipe", tmp_path / "link", tmp_path / "real"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert cli("files", "get", OUTPUT_ID, "--out", pipe).exit_code == 0
        assert os.read(reader, 2 * len(CONTENT)) == CONTENT
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    read_end, write_end = os.pipe()
    try:  # such as /dev/stdout before a pipe: a link that leads to no path
        assert cli("files", "get", OUTPUT_ID, "--out", f"/dev/fd/{write_end}").exit_code == 0
        assert os.read(read_end, 2 * len(CONTENT)) == CONTENT
    finally:
        os.close(read_end)
        os.close(write_end)
    real.write_bytes(b"old")
    link.symlink_to(real)
    assert cli("files", "get", OUTPUT_ID, "--out", link).exit_code == 0
    assert (link.is_symlink(), real.read_bytes()) == (True, CONTENT)
    result = cli("files", "get", OUTPUT_ID, "--out", tmp_path)
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (1, f"headrace: Is a directory: {tmp_path}")


def test_a_name_in_another_encoding_is_uploaded_under_a_likeness(
    cli: Cli, server: FakeHeadrace, tmp_path: Path
) -> None:
    """Bytes that are no UTF-8 would be half surrogates in JSON, which the service refuses."""
    path = tmp_path / os.fsdecode(b"stra\xdfe.jsonl")
    path.write_bytes(b"{}\n")
    assert cli("files", "upload", path).exit_code == 0
    (offer,) = server.sent("POST", "/v1/files")
    assert json.loads(offer.content)["filename"] == "stra?e.jsonl"
