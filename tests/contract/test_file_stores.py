"""Files' fakes and AWS adapters keep the same contracts: records, lists, objects, forms, and grants of drops."""

from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from json import loads
from typing import Protocol, TypeVar
from urllib.parse import parse_qs, urlsplit

import pytest

from headrace.authentication.revocation import FOREVER, tenant_mark
from headrace.batches.ordering.incoming import DropGrant
from headrace.errors import AttemptTimedOut, StoreUnavailable
from headrace.fakes.files import FakeFileTable, FakeUploads
from headrace.files.files import Contents, Door, File, FileLists, FileRecords, Stored, new_id, object_key
from headrace_aws import keys
from headrace_aws.bounded_calls import BoundedCalls
from headrace_aws.clients import client, presigner
from headrace_aws.drops_table import DropsTable
from headrace_aws.files_table import FilesTable
from headrace_aws.revocations_table import RevocationsTable
from headrace_aws.state_table import StateTable
from headrace_aws.uploads import FORM_LIFETIME_S, Uploads
from tests.contract.conftest import PatientCalls, make_state_table
from tests.contract.test_batch_stores import make_bucket

T = TypeVar("T")

GATEWAY_S = 29.0
BUCKET, TABLE, KEYS = "inputs", "state", "keys"
ID = new_id(bytes)
FILE = File("acme", ID, "Straße 1.csv", "batch", BUCKET, object_key("acme", ID, "Straße 1.csv"), 1_700_000_000.5)


class Table(FileRecords, FileLists, Protocol):
    """Both at once."""


class Store(Door, Contents, Protocol):
    """Both at once."""


@pytest.fixture(params=["fake", "dynamodb"])
def table(request: pytest.FixtureRequest) -> Iterator[Table]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeFileTable()
        return
    request.getfixturevalue("aws")
    make_state_table()
    yield FilesTable(StateTable(TABLE, calls=PatientCalls()))


@pytest.fixture(params=["fake", "s3"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeUploads()
        return
    request.getfixturevalue("aws")
    make_bucket(BUCKET, versioned=True)
    yield Uploads(BUCKET, calls=PatientCalls())


def file(seconds: float, tenant: str = "acme", number: int = 1, **fields: str) -> File:
    """A file created so many seconds later."""
    file_id = new_id(lambda size: number.to_bytes(size, "big"))
    made = replace(FILE, tenant=tenant, file_id=file_id, created_at=FILE.created_at + seconds)
    return replace(made, **fields)  # type: ignore[arg-type]


def test_a_record_is_read_as_it_was_written(table: Table) -> None:
    """Every field survives; a later word replaces it, and the list shows it once; a deleted one is gone for good."""
    awaited = replace(FILE, state="awaiting", size=5, key_id="k")
    table.put(awaited)
    assert table.get("acme", ID) == awaited
    ready = replace(awaited, state="ready", version="v", size=6)
    table.put(ready)
    assert table.get("acme", ID) == ready
    assert table.newest("acme", limit=5) == [ready]
    for _ in range(2):
        table.delete(ready)
    assert table.get("acme", ID) is None
    assert table.newest("acme", limit=5) == []


def test_no_tenant_reads_anothers_record(table: Table) -> None:
    """The tenant is part of the key."""
    table.put(FILE)
    for other in ("other", "acme#x", "acm"):
        assert table.get(other, ID) is None
        assert table.newest(other, limit=5) == []


def test_the_newest_come_first_in_pages_and_by_purpose(table: Table) -> None:
    """Pages follow on each other without gaps or repeats, also where a purpose picks among them."""
    files = [file(number, number=number + 1, purpose=("batch", "batch_output")[number % 2]) for number in range(9)]
    for each in files:
        table.put(each)
    table.put(file(4, tenant="other", number=99))
    for purpose in ("", "batch", "batch_output"):
        wanted = [each.file_id for each in reversed(files) if purpose in {"", each.purpose}]
        seen: list[str] = []
        while page := table.newest("acme", limit=2, after=seen[-1] if seen else "", purpose=purpose):
            seen += [each.file_id for each in page]
        assert seen == wanted


def test_an_object_is_there_once_it_was_put(store: Store) -> None:
    """At a version, with its size; another version does not change what the first one holds."""
    assert store.look(BUCKET, FILE.key) is None
    first = store.put(FILE.key, b"first", content_type="text/csv")
    assert store.look(BUCKET, FILE.key) == Stored(first.version, 5)
    store.put(FILE.key, b"second", content_type="text/csv")
    newest = store.look(BUCKET, FILE.key)
    assert newest is not None
    assert (newest.size, newest.version != first.version) == (6, True)
    assert store.look(BUCKET, FILE.key, first.version) == Stored(first.version, 5)
    assert store.read(replace(FILE, version=first.version)) == b"first"


def test_who_holds_a_version_reads_it_after_the_deletion(store: Store) -> None:
    """A batch goes on; for everybody else there is nothing any more."""
    version = store.put(FILE.key, b"bytes", content_type="text/csv").version
    store.remove(FILE)
    store.remove(FILE)
    assert store.look(BUCKET, FILE.key) is None
    assert store.read(FILE) is None
    assert store.read(replace(FILE, version=version)) == b"bytes"


@pytest.mark.usefixtures("aws")
def test_user_metadata_is_told() -> None:
    """As it was sent with the object."""
    make_bucket(BUCKET, versioned=True)
    client("s3", read_timeout_s=5.0).put_object(
        Bucket=BUCKET, Key=FILE.key, Body=b"x", Metadata={"headrace-version": "v1", "other": "y"}
    )
    stored = Uploads(BUCKET, calls=PatientCalls()).look(BUCKET, FILE.key)
    assert stored is not None
    assert stored.metadata == (("headrace-version", "v1"), ("other", "y"))


@pytest.mark.usefixtures("aws")
@pytest.mark.parametrize("kms_key", ["", "arn:aws:kms:eu-west-1:123456789012:key/x"])
def test_a_form_lets_in_one_object_and_no_other(kms_key: str) -> None:
    """Key, type, size and encryption are in the policy that is signed, each exactly; the form has every field of it."""
    presigner.cache_clear()
    uploads = Uploads(BUCKET, calls=PatientCalls(), kms_key=kms_key)
    form = uploads.invite(FILE.key, content_type="text/csv", sizes=(5, 7), now=100.0)
    fields = dict(form.fields)
    conditions = loads(b64decode(fields["policy"]))["conditions"]
    assert ["content-length-range", 5, 7] in conditions
    exact = {name: value for each in conditions if isinstance(each, dict) for name, value in each.items()}
    assert exact["bucket"] == BUCKET
    assert exact["key"] == fields["key"] == FILE.key
    assert exact["Content-Type"] == fields["Content-Type"] == "text/csv"
    assert exact["x-amz-server-side-encryption"] == fields["x-amz-server-side-encryption"] == "aws:kms"
    assert fields.get("x-amz-server-side-encryption-aws-kms-key-id", "") == kms_key
    assert not [each for each in conditions if isinstance(each, list) and each[0] == "starts-with"]
    assert exact["x-amz-algorithm"] == "AWS4-HMAC-SHA256"
    assert form.expires_at == 100.0 + FORM_LIFETIME_S
    assert form.url == f"https://s3.eu-west-1.amazonaws.com/{BUCKET}"
    presigner.cache_clear()


@pytest.mark.usefixtures("aws")
def test_an_address_is_of_one_version_and_ends() -> None:
    """Signed in the way that objects under KMS need, for the bucket's own region, to be saved under the file's name."""
    presigner.cache_clear()
    address = urlsplit(Uploads(BUCKET, calls=PatientCalls()).link(replace(FILE, version="v 1")))
    asked = parse_qs(address.query)
    assert address.hostname == "s3.eu-west-1.amazonaws.com"
    assert asked["versionId"] == ["v 1"]
    assert asked["X-Amz-Expires"] == ["900"]
    assert asked["response-content-disposition"] == ["attachment; filename*=UTF-8''Stra%C3%9Fe%201.csv"]
    presigner.cache_clear()


@pytest.mark.usefixtures("aws")
def test_stores_that_are_not_there_are_unavailable() -> None:
    """A missing bucket or table is our trouble, never a wrong answer."""
    uploads = Uploads("missing", calls=PatientCalls())
    with pytest.raises(StoreUnavailable):
        uploads.put("k", b"", content_type="text/csv")
    table = FilesTable(StateTable("missing", calls=PatientCalls()))
    with pytest.raises(StoreUnavailable):
        table.put(FILE)
    with pytest.raises(StoreUnavailable):
        DropsTable("missing").get("acme")


@pytest.mark.usefixtures("aws")
def test_drops_are_allowed_and_forbidden(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """By the operator's command; a tenant that is blocked starts nothing, and names that cannot be are refused."""
    client("dynamodb", read_timeout_s=5.0).create_table(
        TableName=KEYS,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    monkeypatch.setenv("HEADRACE_KEYS_TABLE", KEYS)
    monkeypatch.setenv("HEADRACE_PEPPER_SECRET", "pepper")
    table = DropsTable(KEYS)
    assert table.get("acme") is None
    assert keys.main(["allow-drops", "--tenant", "acme", "--plan", "free", "--scope", "invoke:sentiment"]) == 0
    assert table.get("acme") == DropGrant("acme", "free", frozenset({"invoke:sentiment"}))
    assert table.get("acm") is None
    revocations = RevocationsTable(KEYS)
    revocations.revoke(tenant_mark("acme"), before=FOREVER)
    assert table.get("acme") is None
    revocations.lift(tenant_mark("acme"))
    assert keys.main(["forbid-drops", "--tenant", "acme"]) == 0
    assert table.get("acme") is None
    assert keys.main(["forbid-drops", "--tenant", "acme"]) == 1
    for wrong in (["--tenant", "A/b"], ["--tenant", "a", "--plan", "A B"], ["--tenant", "a", "--scope", "all"]):
        assert keys.main(["allow-drops", *wrong]) == 1
    assert "no tenant of that name" in capsys.readouterr().err


def test_a_store_that_hangs_is_told_of_within_a_request() -> None:
    """Deleting a file is two actions with all of their attempts: the gateway must not end the request before us."""
    spent: list[float] = []

    class Hanging(BoundedCalls):
        def run(self, call: Callable[[], T], *, timeout_s: float) -> T:
            """Nothing comes."""
            del call
            spent.append(timeout_s)
            raise AttemptTimedOut("late")

    uploads = Uploads(BUCKET, calls=Hanging(), pause=spent.append)
    with pytest.raises(StoreUnavailable):
        uploads.look(BUCKET, FILE.key)
    with pytest.raises(StoreUnavailable):
        uploads.remove(FILE)
    assert 0 < sum(spent) < GATEWAY_S
