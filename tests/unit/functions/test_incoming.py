"""Files that are put under a tenant's incoming prefix: each starts one batch, or leaves a record that says why not."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.batches.bounds import DROPS_AT_ONCE_MAX
from headrace.batches.ordering.incoming import DropGrant, start_object
from headrace.batches.ordering.offers import newest
from headrace.batches.ordering.views import redrivable
from headrace.batches.states import Batch, moved
from headrace.catalog import Catalog
from headrace.errors import StoreUnavailable
from headrace.files.uploading import forget
from headrace.files.uploading import look as look_at_file
from headrace.identity import Principal
from tests.unit.functions.office import LINES, Office

KEY = "tenants/acme/incoming/sentiment/tweets.jsonl"
BUCKET = "inputs"
OWNER = Principal("acme", "standard", frozenset({"invoke"}), "k")


@dataclass
class Grants:
    """Grants by tenant."""

    given: dict[str, DropGrant] = field(default_factory=dict)

    def get(self, tenant: str) -> DropGrant | None:
        """The grant, or None."""
        return self.given.get(tenant)


class Prefix:
    """A bucket, and what becomes of objects that are put there."""

    def __init__(self, catalog: Catalog) -> None:
        self.office = Office(catalog)
        self.grants = Grants({"acme": DropGrant("acme", "standard", frozenset({"invoke"}))})

    def tell(self, key: str, version: str) -> Batch | None:
        """The event comes."""
        return start_object(self.office.batches, self.grants, bucket=BUCKET, key=key, version=version)

    def drop(self, key: str = KEY, body: bytes = LINES, **metadata: str) -> Batch:
        """An object is put there, and the event comes."""
        named = {name.replace("_", "-"): value for name, value in metadata.items()}
        batch = self.tell(key, self.office.uploads.arrive(BUCKET, key, body, **named))
        assert batch is not None
        return batch


@pytest.fixture
def prefix(catalog: Catalog) -> Prefix:
    """Where a tenant may drop files."""
    return Prefix(catalog)


def test_a_file_that_is_dropped_starts_a_batch(prefix: Prefix) -> None:
    """Over the very version, as its metadata asks, under the granted plan, with a file that can be looked at."""
    batch = prefix.drop(
        headrace_version="v1",
        headrace_method="map",
        headrace_degraded="false",
        headrace_webhook="https://example.com/",
        theirs="x",
    )
    assert batch.state == "validating"
    assert (batch.options.endpoint, batch.options.url) == ("sentiment", "/v1/classifications")
    assert (batch.options.version, batch.options.method, batch.options.degraded) == ("v1", "map", False)
    assert (batch.source.version, batch.source.size, batch.source.format) == ("v1", len(LINES), "jsonl")
    assert dict(batch.caller) == {"plan": "standard", "scopes": "invoke", "key_id": "drops"}
    assert prefix.office.machine.started == {batch.batch_id: ("acme", batch.batch_id)}
    file = look_at_file(prefix.office.batches.files, OWNER, batch.input_file_id)
    assert (file.filename, file.size, file.state) == ("tweets.jsonl", len(LINES), "ready")


def test_the_same_event_again_is_the_same_batch(prefix: Prefix) -> None:
    """Twice, late, and after the start failed; another version of the object is another batch."""
    prefix.office.machine.down = True
    with pytest.raises(StoreUnavailable):
        prefix.drop()
    prefix.office.machine.down = False
    for _ in range(3):
        batch = prefix.tell(KEY, "v1")
        assert batch is not None
    assert list(prefix.office.machine.started) == [batch.batch_id]
    prefix.office.table.move(batch, moved(batch, "completed", now=prefix.office.gateway.now))
    again = prefix.tell(KEY, "v1")
    assert again is not None
    assert again.state == "completed"
    assert prefix.drop().batch_id != batch.batch_id
    assert len(prefix.office.table.batches) == 2


@pytest.mark.parametrize(
    ("key", "body", "metadata", "code"),
    [
        ("tenants/other/incoming/sentiment/a.jsonl", b"{}", {}, "drops_forbidden"),
        ("tenants/acme/incoming/nothing/a.jsonl", b"{}", {}, "model_not_found"),
        ("tenants/acme/incoming/sentiment/a.txt", b"{}", {}, "unknown_format"),
        (KEY, b"", {}, "empty_file"),
        (KEY, b"{}", {"headrace_version": "v9"}, "version_not_found"),
        (KEY, b"{}", {"headrace_method": "magic"}, "invalid_metadata"),
        (KEY, b"{}", {"headrace_unknown": "x"}, "invalid_metadata"),
        (KEY, b"{}", {"headrace_threshold": "x"}, "invalid_metadata"),
        (KEY, b"{}", {"headrace_threshold": "0.5"}, "unknown_parameter"),
        (KEY, b"{}", {"headrace_webhook": "http://example.com"}, "invalid_webhook"),
        (KEY, b"{}", {"headrace_url": "/v1/detections"}, "endpoint_mismatch"),
    ],
)
def test_what_cannot_work_says_so(prefix: Prefix, key: str, body: bytes, metadata: dict[str, str], code: str) -> None:
    """A batch that failed, with the reason, in the tenant's own list: nothing that was dropped vanishes."""
    batch = prefix.drop(key, body, **metadata)
    assert (batch.state, [problem.code for problem in batch.problems]) == ("failed", [code])
    assert not prefix.office.machine.started
    owner = replace(OWNER, tenant=batch.tenant)
    assert newest(prefix.office.batches, owner, limit=5) == ([batch], False)
    assert not redrivable(batch)


def test_a_grant_is_for_its_models(prefix: Prefix) -> None:
    """The scopes that the operator gave are those that the batch has."""
    prefix.grants.given["acme"] = DropGrant("acme", "standard", frozenset({"invoke:detection"}))
    assert prefix.drop().problems[0].code == "forbidden"
    metadata = {"headrace_threshold": "0.5", "headrace_max_detections": "7"}
    batch = prefix.drop("tenants/acme/incoming/detection/a.csv.gz", **metadata)
    assert batch.state == "validating"
    assert {name: float(text) for name, text in batch.options.parameters} == {"threshold": 0.5, "max_detections": 7}
    assert (batch.source.format, batch.source.gzip) == ("csv", True)
    assert prefix.drop("tenants/acme/incoming/detection/a.txt", headrace_format="csv").source.format == "csv"


def test_an_object_that_is_gone_is_told(prefix: Prefix) -> None:
    """Deleted before it was looked at."""
    batch = prefix.tell(KEY, "v7")
    assert batch is not None
    assert batch.problems[0].code == "object_not_found"


def test_a_crowd_has_an_end(prefix: Prefix) -> None:
    """Beyond the bound a file is refused for good, and says so: it must be dropped again."""
    for number in range(DROPS_AT_ONCE_MAX):
        assert prefix.drop(f"tenants/acme/incoming/sentiment/{number}.jsonl").state == "validating"
    assert prefix.drop().problems[0].code == "too_many_batches"


def test_stores_that_are_away_are_no_reason_to_refuse(prefix: Prefix) -> None:
    """The event must come again: nothing is written down that says otherwise."""
    version = prefix.office.uploads.arrive(BUCKET, KEY, LINES)
    prefix.office.uploads.down = True
    with pytest.raises(StoreUnavailable):
        prefix.tell(KEY, version)
    assert not prefix.office.table.batches


@pytest.mark.parametrize(
    "key",
    [
        "tenants/acme/files/file_x/a.jsonl",
        "tenants/acme/incoming/a.jsonl",
        "tenants/acme/incoming/sentiment/",
        "tenants/acme/incoming//a.jsonl",
        "tenants/../incoming/sentiment/a.jsonl",
        "tenants/ACME/incoming/sentiment/a.jsonl",
        "x/tenants/acme/incoming/sentiment/a.jsonl",
        "",
    ],
)
def test_other_keys_start_nothing(prefix: Prefix, key: str) -> None:
    """Not below a tenant's incoming prefix, or no object but a folder."""
    prefix.office.uploads.arrive(BUCKET, key, LINES)
    assert prefix.tell(key, "v1") is None
    assert not prefix.office.table.batches


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tenant=st.sampled_from(["acme", "b"]), rest=st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_key_reaches_another_tenant(catalog: Catalog, tenant: str, rest: str) -> None:
    """Whatever follows the prefix, the record is that tenant's whose prefix it is, and so is the file."""
    prefix = Prefix(catalog)
    key = f"tenants/{tenant}/incoming/{rest}"
    prefix.tell(key, prefix.office.uploads.arrive(BUCKET, key, LINES))
    assert {owner for owner, _ in prefix.office.table.batches} <= {tenant}
    assert {owner for owner, _ in prefix.office.files.files} <= {tenant}


def test_a_dropped_file_is_forgotten_and_its_object_stays(prefix: Prefix) -> None:
    """Its name is whose who put it there, and may hold another file by now, which a deletion must not hide."""
    first, second = prefix.drop(), prefix.drop(body=LINES * 2)
    files = prefix.office.batches.files
    forget(files, OWNER, first.input_file_id)
    assert files.records.get("acme", first.input_file_id) is None
    stored = files.door.look(BUCKET, KEY)
    assert stored is not None
    assert stored.version == second.source.version
