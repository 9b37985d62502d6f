"""`/v1/files`: uploads small and large, looked at, read and deleted, by those alone who may."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.predict.schemas.batches import FileAnswer, FileDeletion, FileList
from headrace.batches.bounds import INPUT_BYTES_MAX, MULTIPART_BYTES_MAX
from headrace.catalog import Catalog
from headrace.files.files import File, format_of, object_key, output_id
from tests.unit.functions.office import BOUNDARY, LINES, Office

FILE = {"filename": "in.jsonl", "purpose": "batch"}


@pytest.fixture
def office(catalog: Catalog) -> Office:
    """Where files are taken."""
    return Office(catalog)


def test_a_small_file_comes_with_the_request(office: Office) -> None:
    """OpenAI's form: the bytes are kept as they came, at a version, below the tenant's prefix."""
    told = office.upload().json()
    assert FileAnswer.model_validate(told, strict=True)
    assert (told["bytes"], told["status"], told["filename"]) == (len(LINES), "processed", "in.jsonl")
    file = office.files.files["acme", told["id"]]
    assert file.version == "v1"
    assert file.key == f"tenants/acme/files/{told['id']}/in.jsonl"
    assert office.uploads.objects["inputs", file.key] == [LINES]
    content = office.gateway.ask("GET", f"/v1/files/{told['id']}/content")
    assert (content.status, content.body) == (200, LINES)


def test_a_large_file_goes_straight_to_the_object_store(office: Office) -> None:
    """The answer holds a form for the very object; the file is awaited until its bytes are seen, then pinned."""
    answer = office.gateway.post("/v1/files", {**FILE, "bytes": 10_000_000})
    told = answer.json()
    assert FileAnswer.model_validate(told, strict=True)
    assert told["status"] == "uploaded"
    assert told["headrace"]["awaiting_upload"]
    key = told["headrace"]["upload"]["fields"]["key"]
    assert office.uploads.invited[key] == ("application/jsonl", (10_000_000, 10_000_000))
    place = f"/v1/files/{told['id']}"
    assert office.gateway.ask("GET", place).json()["status"] == "uploaded"
    assert office.gateway.ask("GET", f"{place}/content").json()["error"]["code"] == "file_not_uploaded"
    office.uploads.arrive("inputs", key, b"12345")
    after = office.gateway.ask("GET", place).json()
    assert (after["status"], after["bytes"], after["headrace"]) == (
        "processed",
        5,
        {"awaiting_upload": False, "upload": None},
    )
    office.uploads.arrive("inputs", key, b"another one, within the form's life")
    assert office.gateway.ask("GET", f"{place}/content").body == b"12345"


def test_without_a_size_the_form_takes_what_one_upload_can_carry(office: Office) -> None:
    """From one byte to five gibibytes; an empty file is not taken."""
    fields = office.gateway.post("/v1/files", FILE).json()["headrace"]["upload"]["fields"]
    assert office.uploads.invited[fields["key"]][1] == (1, INPUT_BYTES_MAX)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**FILE, "purpose": "fine-tune"}, 400, "wrong_purpose"),
        ({**FILE, "bytes": 0}, 400, "empty_file"),
        ({**FILE, "bytes": INPUT_BYTES_MAX + 1}, 413, "file_too_large"),
        ({**FILE, "filename": "a\nb"}, 400, "invalid_filename"),
        ({**FILE, "filename": ""}, 400, "invalid_body"),
        ({**FILE, "bytes": "5"}, 400, "invalid_body"),
        ({**FILE, "more": 1}, 400, "invalid_body"),
        ({"filename": "x"}, 400, "invalid_body"),
    ],
)
def test_what_cannot_be_is_refused_at_the_door(office: Office, body: dict[str, Any], status: int, code: str) -> None:
    """Nothing is written down for it."""
    answer = office.gateway.post("/v1/files", body)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert not office.files.files


def test_forms_that_are_none(office: Office) -> None:
    """Empty and oversized files, missing parts, and bodies cut anywhere: each is a 4xx, and none a 500."""
    assert office.upload(b"").json()["error"]["code"] == "empty_file"
    assert office.upload(bytes(MULTIPART_BYTES_MAX)).status == 413
    assert office.upload(purpose="user_data").json()["error"]["code"] == "wrong_purpose"
    assert office.upload(filename="").status == 400
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    whole = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{{}}\r\n'
        f"--{BOUNDARY}--\r\n"
    ).encode()
    assert office.gateway.post("/v1/files", whole, headers=headers).status == 200
    for end in range(0, len(whole) - 6, 3):
        assert office.gateway.post("/v1/files", whole[:end], headers=headers).status == 400
    for kind in ("multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=other"):
        assert office.gateway.post("/v1/files", whole, headers={"Content-Type": kind}).status == 400
    extra = whole.replace(b'name="purpose"', b'name="expires_after[seconds]"')
    assert office.gateway.post("/v1/files", extra, headers=headers).json()["error"]["code"] == "invalid_form"


def test_who_may_invoke_nothing_uploads_nothing(office: Office) -> None:
    """A key that only reads has no use for a file; one for a single model has."""
    assert office.upload(scopes="read").status == 403
    assert office.upload(scopes="invoke:sentiment").status == 200


def test_files_come_in_pages_the_newest_first(office: Office) -> None:
    """Every file once; `purpose` and `after` are heeded, and a page is never longer than its bound."""
    ids = []
    for _ in range(5):
        ids.append(office.file())
        office.gateway.now += 1
    seen: list[str] = []
    more = True
    while more:
        query = {"limit": "2", **({"after": seen[-1]} if seen else {})}
        page = office.gateway.ask("GET", "/v1/files", query=query).json()
        assert FileList.model_validate(page, strict=True)
        seen += [row["id"] for row in page["data"]]
        more = page["has_more"]
    assert seen == ids[::-1]
    assert office.gateway.ask("GET", "/v1/files", query={"purpose": "batch_output"}).json()["data"] == []
    assert office.gateway.ask("GET", "/v1/files", query={"limit": "10000"}).status == 200
    for wrong in (
        {"limit": "0"},
        {"limit": "x"},
        {"limit": "100000"},
        {"order": "asc"},
        {"after": "x" * 65},
        {"after": "x"},
    ):
        assert office.gateway.ask("GET", "/v1/files", query=wrong).status == 400


def test_a_deleted_file_is_gone(office: Office) -> None:
    """Record and object; its version stays for the batches that hold on to it."""
    file_id = office.file()
    file = office.files.files["acme", file_id]
    answer = office.gateway.ask("DELETE", f"/v1/files/{file_id}").json()
    assert FileDeletion.model_validate(answer, strict=True)
    assert answer == {"id": file_id, "object": "file", "deleted": True}
    assert office.gateway.ask("GET", f"/v1/files/{file_id}").json()["error"]["code"] == "file_not_found"
    assert office.gateway.ask("DELETE", f"/v1/files/{file_id}").status == 404
    assert office.uploads.look("inputs", file.key) is None
    assert office.uploads.read(file) == LINES


def test_a_content_too_large_for_an_answer_is_elsewhere(office: Office) -> None:
    """307 to an address that the object store has signed."""
    file_id = output_id("batch_x", "results")
    now = office.gateway.now
    large = File("acme", file_id, "r.jsonl", "batch_output", "batches", "k", now, "v1", MULTIPART_BYTES_MAX + 1)
    office.files.put(large)
    answer = office.gateway.ask("GET", f"/v1/files/{file_id}/content")
    assert answer.status == 307
    assert answer.headers["location"] == "https://uploads.test/k?versionId=v1"
    office.files.put(replace(large, size=5))
    assert office.gateway.ask("GET", f"/v1/files/{file_id}/content").status == 404


def test_a_file_is_kept_for_a_month(office: Office) -> None:
    """After that there is none, whatever is left of it."""
    file_id = office.file()
    office.gateway.now += 30 * 86_400
    assert office.gateway.ask("GET", f"/v1/files/{file_id}").status == 404
    assert office.gateway.ask("GET", "/v1/files").json()["data"] == []


def test_keys_of_one_model_see_their_own_files_only(office: Office) -> None:
    """A tenant's key for every model sees them all."""
    mine = office.file(scopes="invoke:sentiment", key_id="mine")
    for scopes, key_id, status in (
        ("invoke:sentiment", "mine", 200),
        ("invoke:sentiment", "other", 404),
        ("read", "other", 404),
        ("invoke", "other", 200),
    ):
        answer = office.gateway.ask("GET", f"/v1/files/{mine}", scopes=scopes, key_id=key_id)
        assert answer.status == status
        listed = office.gateway.ask("GET", "/v1/files", scopes=scopes, key_id=key_id).json()["data"]
        assert bool(listed) is (status == 200)


def test_a_store_that_is_away_is_a_503(office: Office) -> None:
    """With a time to come again, and without a word about what failed."""
    office.files.down = True
    answer = office.upload()
    assert (answer.status, answer.json()["error"]["code"]) == (503, "temporarily_unavailable")
    assert "retry-after" in answer.headers


def test_uploads_count_against_the_plan(office: Office) -> None:
    """What is written down costs: the plan's rate holds for files as well."""
    office.gateway.plan = "free"
    statuses = [office.upload().status for _ in range(8)]
    assert statuses[0] == 200
    assert statuses[-1] == 429


_TENANTS = st.sampled_from(["acme", "acme-b", "b"])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(owners=st.lists(_TENANTS, min_size=1, max_size=6), asker=_TENANTS)
def test_no_tenant_sees_anothers_files(catalog: Catalog, owners: list[str], asker: str) -> None:
    """Whatever is uploaded by whom: lists, looks, contents and deletions show a tenant its own and nothing else."""
    office = Office(catalog)
    ids = [(owner, office.file(tenant=owner)) for owner in owners]
    listed = office.gateway.ask("GET", "/v1/files", tenant=asker).json()["data"]
    assert {row["id"] for row in listed} == {file_id for owner, file_id in ids if owner == asker}
    for owner, file_id in ids:
        for method, end in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            status = office.gateway.ask(method, f"/v1/files/{file_id}{end}", tenant=asker).status
            assert status == (200 if owner == asker else 404)


@given(st.text(max_size=300))
def test_a_key_is_safe_whatever_the_name(name: str) -> None:
    """It stays one object below its own file's folder, in characters that need no encoding anywhere."""
    key = object_key("acme", "file_x", name)
    folder, _, last = key.rpartition("/")
    assert folder == "tenants/acme/files/file_x"
    assert 0 < len(last) <= 100
    assert last.isascii()
    assert not last.startswith(".")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a.jsonl", ("jsonl", False)),
        ("A.JSONL.GZ", ("jsonl", True)),
        ("a.csv", ("csv", False)),
        ("a.parquet", ("parquet", False)),
        ("a.manifest.json", ("manifest", False)),
        ("a.json", (None, False)),
        ("a.gz", (None, True)),
        ("", (None, False)),
    ],
)
def test_a_name_says_the_format(name: str, told: tuple[str | None, bool]) -> None:
    """By its ending, in any case."""
    assert format_of(name) == told


def test_records_hold_no_input(office: Office) -> None:
    """What is logged of an upload: ids and sizes."""
    office.upload(b'{"input": "a secret"}\n', filename="secret-name.jsonl")
    assert "secret" not in json.dumps(office.gateway.records)
