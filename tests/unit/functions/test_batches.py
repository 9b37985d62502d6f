"""`/v1/batches`: begun once, refused at the door, looked at, cancelled and redriven, by those alone who may."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.predict.schemas.batches import BatchAnswer, BatchList
from headrace.batches.bounds import BATCHES_AT_ONCE_MAX, INPUT_BYTES_MAX
from headrace.batches.layout import report_key
from headrace.batches.ordering.offers import RESTART_AFTER_S
from headrace.batches.ordering.views import FORGOTTEN_AFTER_S
from headrace.batches.states import BatchState, Counts, Problem
from headrace.batches.storage import ShardProgress
from headrace.catalog import Catalog
from headrace.fakes.files import UPLOAD_LIFETIME_S
from tests.unit.functions.office import Office

KEY = {"Idempotency-Key": "once"}


@pytest.fixture
def office(catalog: Catalog) -> Office:
    """Where batches are taken."""
    return Office(catalog)


def show(office: Office, batch_id: str) -> dict[str, Any]:
    """The batch as its caller reads it."""
    answer = office.gateway.ask("GET", f"/v1/batches/{batch_id}")
    assert answer.status == 200, answer.body
    assert BatchAnswer.model_validate(answer.json(), strict=True)
    document: dict[str, Any] = answer.json()
    return document


def test_a_batch_begins(office: Office) -> None:
    """Written down as it was asked for, at the file's very version, and its execution started."""
    file_id = office.file()
    told = office.begin(
        input_file_id=file_id,
        metadata={"job": "nightly"},
        version="v1",
        method="map",
        degraded=False,
        webhook="https://example.com/hook",
    ).json()
    assert BatchAnswer.model_validate(told, strict=True)
    assert (told["status"], told["endpoint"], told["input_file_id"]) == ("validating", "/v1/classifications", file_id)
    assert (told["model"], told["metadata"], told["completion_window"]) == ("sentiment", {"job": "nightly"}, "24h")
    batch = office.table.batches["acme", told["id"]]
    file = office.files.files["acme", file_id]
    assert (batch.source.bucket, batch.source.key, batch.source.version) == (file.bucket, file.key, "v1")
    assert (batch.source.format, batch.source.size) == ("jsonl", file.size)
    assert (batch.options.version, batch.options.method, batch.options.degraded) == ("v1", "map", False)
    assert dict(batch.caller)["scopes"] == "invoke read"
    assert office.machine.started == {told["id"]: ("acme", told["id"])}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"endpoint": "/v1/chat/completions"}, 400, "unsupported_endpoint"),
        ({"endpoint": "/v1/detections", "model": "sentiment"}, 400, "endpoint_mismatch"),
        ({"endpoint": "/v2/models/detection/infer", "model": "sentiment"}, 400, "endpoint_mismatch"),
        ({"endpoint": "/v2/models/detection/versions/v1/infer", "version": "v2"}, 400, "endpoint_mismatch"),
        ({"endpoint": "/v2/models/nothing/infer"}, 404, "model_not_found"),
        ({"model": "nothing"}, 404, "model_not_found"),
        ({"endpoint": None}, 400, "missing_endpoint"),
        ({"version": "v9"}, 404, "version_not_found"),
        ({"version": "lite"}, 404, "version_not_found"),
        ({"completion_window": "1h"}, 400, "invalid_completion_window"),
        ({"webhook": "http://example.com/"}, 400, "invalid_webhook"),
        ({"format": "xml"}, 400, "invalid_body"),
        ({"method": "magic"}, 400, "invalid_body"),
        ({"metadata": {str(number): "" for number in range(17)}}, 400, "invalid_body"),
        ({"metadata": {"x" * 65: ""}}, 400, "invalid_metadata"),
        ({"metadata": {"x": "y" * 513}}, 400, "invalid_body"),
        ({"metadata": {"x": 1}}, 400, "invalid_body"),
        ({"parameters": {"threshold": 0.5}}, 400, "unknown_parameter"),
        ({"endpoint": "/v1/detections", "parameters": {"threshold": 1.5}}, 400, "invalid_parameter"),
        ({"endpoint": "/v1/detections", "parameters": {"max_detections": 1.5}}, 400, "invalid_parameter"),
        ({"input_file_id": "file_nothing"}, 404, "file_not_found"),
        ({"input_file_id": "file_" + "A" * 22}, 404, "file_not_found"),
        ({"more": 1}, 400, "invalid_body"),
    ],
)
def test_what_cannot_work_is_never_begun(office: Office, body: dict[str, Any], status: int, code: str) -> None:
    """A 4xx at the door, no record, no execution."""
    answer = office.begin(**body)
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)
    assert not office.table.batches
    assert not office.machine.started


def test_parameters_are_kept_as_they_were_said(office: Office) -> None:
    """As texts that say the same number."""
    batch_id = office.batch(endpoint="/v1/detections", parameters={"threshold": 0.123456789, "max_detections": 50})
    parameters = dict(office.table.batches["acme", batch_id].options.parameters)
    assert {name: float(text) for name, text in parameters.items()} == {"threshold": 0.123456789, "max_detections": 50}


def test_a_model_alone_says_the_endpoint(office: Office) -> None:
    """And a path of the inference protocol says the model and the version."""
    assert show(office, office.batch(endpoint=None, model="detection"))["endpoint"] == "/v1/detections"
    batch_id = office.batch(endpoint="/v2/models/detection/versions/v2/infer")
    assert office.table.batches["acme", batch_id].options.version == "v2"


def test_a_file_that_cannot_be_used(office: Office) -> None:
    """Not arrived, of another purpose, too large, of another tenant, or of a name that says nothing: each is a 4xx."""
    invited = office.gateway.post("/v1/files", {"filename": "a.jsonl", "purpose": "batch"}).json()
    assert office.begin(input_file_id=invited["id"]).json()["error"]["code"] == "file_not_uploaded"
    office.uploads.arrive("inputs", invited["headrace"]["upload"]["fields"]["key"], b"")
    assert office.begin(input_file_id=invited["id"]).json()["error"]["code"] == "empty_file"
    file_id = office.file()
    file = office.files.files["acme", file_id]
    for changed, code in (
        (replace(file, purpose="batch_output"), "wrong_purpose"),
        (replace(file, size=INPUT_BYTES_MAX + 1), "file_too_large"),
    ):
        office.files.put(changed)
        assert office.begin(input_file_id=file_id).json()["error"]["code"] == code
    assert office.begin(input_file_id=office.file(tenant="other")).json()["error"]["code"] == "file_not_found"
    nameless = office.file(filename="in.txt")
    assert office.begin(input_file_id=nameless).json()["error"]["code"] == "unknown_format"
    assert office.begin(input_file_id=nameless, format="csv").status == 200
    assert office.begin(input_file_id=office.file(filename="a.parquet.gz")).json()["error"]["code"] == "unknown_format"


def test_a_file_that_has_arrived_meanwhile_is_pinned(office: Office) -> None:
    """What is written over it within the form's life changes nothing."""
    invited = office.gateway.post("/v1/files", {"filename": "a.jsonl", "purpose": "batch"}).json()
    key = invited["headrace"]["upload"]["fields"]["key"]
    office.uploads.arrive("inputs", key, b"{}")
    batch_id = office.batch(input_file_id=invited["id"])
    office.gateway.now += UPLOAD_LIFETIME_S / 2
    office.uploads.arrive("inputs", key, b"[]")
    assert office.table.batches["acme", batch_id].source.version == "v1"
    assert office.table.batches["acme", office.batch(input_file_id=invited["id"])].source.version == "v1"


def test_who_may_not_use_the_model_begins_nothing(office: Office) -> None:
    """The scope is asked for at the door, and so is the plan."""
    file_id = office.file(scopes="invoke:sentiment", key_id="one")
    body = {"input_file_id": file_id, "endpoint": "/v1/detections"}
    answer = office.gateway.post("/v1/batches", body, scopes="invoke:sentiment", key_id="one")
    assert answer.status == 403
    office.gateway.plan = "no-such"
    assert office.begin(input_file_id=file_id).status == 403


def test_so_many_batches_at_once_and_no_more(office: Office) -> None:
    """429 with a time to come again; one that ends makes room, and other tenants have their own."""
    file_id = office.file()
    ids = [office.batch(input_file_id=file_id) for _ in range(BATCHES_AT_ONCE_MAX)]
    answer = office.begin(input_file_id=file_id)
    assert (answer.status, answer.json()["error"]["code"]) == (429, "too_many_batches")
    assert answer.headers["ratelimit-limit"] == str(BATCHES_AT_ONCE_MAX)
    assert int(answer.headers["retry-after"]) > 0
    assert office.begin(tenant="other").status == 200
    office.move(ids[0], "completed")
    assert office.begin(input_file_id=file_id).status == 200


def test_the_same_key_is_the_same_batch_though_the_start_failed(office: Office) -> None:
    """The caller hears of it, the record stands, and asking again starts that very batch and makes no other."""
    file_id = office.file()
    office.machine.down = True
    refused = office.begin(input_file_id=file_id, headers=KEY)
    assert refused.status == 503
    (standing,) = office.table.batches.values()
    office.machine.down = False
    told = office.begin(input_file_id=file_id, headers=KEY).json()
    assert told["id"] == standing.batch_id
    assert list(office.machine.started) == [standing.batch_id]
    assert office.begin(input_file_id=file_id, headers=KEY).json() == told
    assert len(office.table.batches) == 1
    office.gateway.now += 86_400 + 1
    assert office.begin(input_file_id=file_id, headers=KEY).json()["id"] != standing.batch_id


def test_a_look_starts_what_was_never_started(office: Office) -> None:
    """After a while, and at no harm: an execution's name counts once. A machine that is away spoils no look."""
    office.machine.down = True
    assert office.begin().status == 503
    ((_, batch_id),) = office.table.batches
    office.gateway.now += RESTART_AFTER_S
    assert show(office, batch_id)["status"] == "validating"
    office.machine.down = False
    show(office, batch_id)
    assert list(office.machine.started) == [batch_id]


def test_progress_is_the_sum_of_the_shards(office: Office) -> None:
    """Counts, rate, time left, cost, and that it pauses when all shards that have begun do."""
    batch_id = office.batch()
    office.move(batch_id, "in_progress", counts=Counts(1000), shards=3, reason="few records", method="map")
    office.gateway.now += 100
    office.table.note("acme", batch_id, ShardProgress(0, 10, Counts(400, 390, 10, 5), done=True))
    office.table.note("acme", batch_id, ShardProgress(1, 5, Counts(300, 100, 0), paused="overloaded"))
    told = show(office, batch_id)
    assert told["request_counts"] == {"total": 1000, "completed": 490, "failed": 10}
    extras = told["headrace"]
    assert (extras["rate_per_s"], extras["eta_s"], extras["paused"]) == (5.0, 100, "overloaded")
    assert (extras["method"], extras["reason"], extras["shards"], extras["degraded"]) == ("map", "few records", 3, 5)
    office.table.note("acme", batch_id, ShardProgress(2, 5, Counts(300, 1, 0)))
    assert show(office, batch_id)["headrace"]["paused"] is None


def test_the_end_is_final(office: Office) -> None:
    """Counts of the record, the files, the moment under the state's own name, and the report."""
    batch_id = office.batch()
    assert office.gateway.ask("GET", f"/v1/batches/{batch_id}/report").status == 404
    office.move(batch_id, "in_progress", counts=Counts(10), shards=1)
    office.gateway.now += 5
    office.move(batch_id, "completed", counts=Counts(10, 8, 2), output_file_id="file_r", error_file_id="file_e")
    office.objects.write(report_key("acme", batch_id), b'{"records": 10}')
    office.gateway.now += 50
    told = show(office, batch_id)
    assert told["completed_at"] == int(office.gateway.now - 50)
    assert [told[f"{state}_at"] for state in ("failed", "expired", "cancelled")] == [None] * 3
    assert (told["output_file_id"], told["error_file_id"]) == ("file_r", "file_e")
    assert told["request_counts"] == {"total": 10, "completed": 8, "failed": 2}
    assert told["headrace"]["rate_per_s"] == 2.0
    assert office.gateway.ask("GET", f"/v1/batches/{batch_id}/report").json() == {"records": 10}


def test_cancelling_is_idempotent(office: Office) -> None:
    """Twice is once; what is over cannot be cancelled; one that never began is ended by its execution."""
    batch_id = office.batch()
    office.machine.started.clear()
    place = f"/v1/batches/{batch_id}/cancel"
    first = office.gateway.post(place, {}).json()
    assert first["status"] == "cancelling"
    assert first["cancelling_at"] == int(office.gateway.now)
    assert list(office.machine.started) == [batch_id]
    revision = office.table.batches["acme", batch_id].revision
    assert office.gateway.post(place, {}).json()["status"] == "cancelling"
    assert office.table.batches["acme", batch_id].revision == revision
    office.move(batch_id, "cancelled")
    assert office.gateway.post(place, {}).json()["status"] == "cancelled"
    done = office.batch()
    office.move(done, "completed")
    answer = office.gateway.post(f"/v1/batches/{done}/cancel", {})
    assert (answer.status, answer.json()["error"]["code"]) == (400, "batch_over")


def test_cancelling_ends_a_transform_job(office: Office) -> None:
    """A job that nobody ends would go on costing; asked again, it is ended again, in case the first word was lost."""
    batch_id = office.batch()
    office.move(batch_id, "in_progress", method="transform", shards=1)
    place = f"/v1/batches/{batch_id}/cancel"
    office.transforms.down = True
    assert office.gateway.post(place, {}).status == 503
    office.transforms.down = False
    assert office.gateway.post(place, {}).json()["status"] == "cancelling"
    assert office.transforms.stopped == [batch_id]
    other = office.batch()
    office.move(other, "in_progress", shards=1)
    assert office.gateway.post(f"/v1/batches/{other}/cancel", {}).status == 200
    assert office.transforms.stopped == [batch_id]


def test_a_redrive_begins_a_run_of_its_own(office: Office) -> None:
    """Under another name, once however often it is asked for, with a day of its own; only what failed can."""
    batch_id = office.batch()
    place = f"/v1/batches/{batch_id}/redrive"
    assert office.gateway.post(place, {}).json()["error"]["code"] == "not_redrivable"
    office.move(batch_id, "in_progress", shards=3)
    office.move(batch_id, "failed", problems=(Problem("shards_missing", "2 shards are missing."),))
    told = show(office, batch_id)
    assert told["errors"]["data"][0]["code"] == "shards_missing"
    assert told["headrace"]["redrivable"]
    office.gateway.now += 80_000
    office.machine.down = True
    assert office.gateway.post(place, {}).status == 503
    office.machine.down = False
    for _ in range(2):
        told = office.gateway.post(place, {}).json()
        assert (told["status"], told["headrace"]["redrives"], told["errors"]) == ("in_progress", 1, None)
    assert set(office.machine.started) == {batch_id, f"{batch_id}-r1"}
    assert told["expires_at"] == int(office.gateway.now + 86_400)
    office.move(batch_id, "failed", shards=0)
    assert office.gateway.post(place, {}).status == 400


def test_a_cancel_ends_a_redrive_that_could_not_begin(office: Office) -> None:
    """Nothing else would: its execution was never started, and the caller gave up asking for it."""
    batch_id = office.batch()
    office.move(batch_id, "in_progress", shards=3)
    office.move(batch_id, "failed")
    office.machine.down = True
    assert office.gateway.post(f"/v1/batches/{batch_id}/redrive", {}).status == 503
    office.machine.down = False
    assert office.gateway.post(f"/v1/batches/{batch_id}/cancel", {}).json()["status"] == "cancelling"
    assert f"{batch_id}-r1" in office.machine.started


def test_a_redrive_counts_like_a_beginning(office: Office) -> None:
    """Who has as many batches under way as it may redrives none; one that runs again is told all the same."""
    file_id = office.file()
    failed = [office.batch(input_file_id=file_id) for _ in range(2)]
    for batch_id in failed:
        office.move(batch_id, "in_progress", shards=3)
        office.move(batch_id, "failed", problems=(Problem("shards_missing", "2 shards are missing."),))
    for _ in range(BATCHES_AT_ONCE_MAX - 1):
        office.batch(input_file_id=file_id)
    assert office.gateway.post(f"/v1/batches/{failed[0]}/redrive", {}).status == 200
    refused = office.gateway.post(f"/v1/batches/{failed[1]}/redrive", {})
    assert (refused.status, refused.json()["error"]["code"]) == (429, "too_many_batches")
    assert office.gateway.post(f"/v1/batches/{failed[0]}/redrive", {}).status == 200


def test_a_list_begins_behind_a_batch_or_is_refused(office: Office) -> None:
    """What is no batch's id would begin at the newest again, and a loop over the pages would never end."""
    for wrong in ("file_" + "A" * 22, "\0", "batch_", "x"):
        answer = office.gateway.ask("GET", "/v1/batches", query={"after": wrong})
        assert (answer.status, answer.json()["error"]["code"]) == (400, "invalid_after")


def test_a_move_that_is_overtaken_is_made_again(office: Office) -> None:
    """The record moved between reading and writing: the cancellation counts all the same."""
    batch_id = office.batch()
    table = office.table
    read = table.get

    class Racing(type(table)):  # type: ignore[misc]
        """Moves once behind the reader's back."""

        raced = False

        def get(self, tenant: str, batch_id: str) -> Any:
            """The record, which then moves."""
            found = read(tenant, batch_id)
            if not Racing.raced:
                Racing.raced = True
                office.move(batch_id, "in_progress")
            return found

    racing = Racing(table.batches, table.progress)
    office.gateway.set_batches(replace(office.batches, records=racing))
    assert office.gateway.post(f"/v1/batches/{batch_id}/cancel", {}).json()["status"] == "cancelling"
    assert table.batches["acme", batch_id].started_at


def test_what_nothing_ends_has_expired(office: Office) -> None:
    """Long after its day a batch that nobody moves is told as what it is, and holds no place."""
    for _ in range(BATCHES_AT_ONCE_MAX):
        batch_id = office.batch()
    office.gateway.now += 86_400 + FORGOTTEN_AFTER_S
    told = show(office, batch_id)
    assert (told["status"], told["expired_at"]) == ("expired", told["expires_at"])
    assert office.begin().status == 200
    office.gateway.now += 30 * 86_400
    assert office.gateway.ask("GET", f"/v1/batches/{batch_id}").status == 404


@pytest.mark.parametrize("state", ["validating", "in_progress", "cancelling", "finalizing"])
def test_a_look_has_ended_what_nothing_else_ends(office: Office, state: BatchState) -> None:
    """Its execution was aborted, timed out or failed: another one merges what there is, and is another one again later.

    A batch that is still at work is left to its execution.
    """
    batch_id = office.batch()
    if state != "validating":
        office.move(batch_id, state)
    office.gateway.now += FORGOTTEN_AFTER_S - 1
    show(office, batch_id)
    assert set(office.machine.started) == {batch_id}
    office.gateway.now += 1 if state in {"cancelling", "finalizing"} else 86_401
    show(office, batch_id)
    show(office, batch_id)
    assert set(office.machine.started) == {batch_id, f"{batch_id}-end1"}
    office.gateway.now += FORGOTTEN_AFTER_S
    show(office, batch_id)
    assert office.machine.started[f"{batch_id}-end2"] == ("acme", batch_id)


def test_batches_come_in_pages_the_newest_first(office: Office) -> None:
    """Every batch once, as OpenAI's pages are."""
    ids = []
    for _ in range(5):
        ids.append(office.batch())
        office.gateway.now += 1
    seen: list[str] = []
    more = True
    while more:
        query = {"limit": "2", **({"after": seen[-1]} if seen else {})}
        page = office.gateway.ask("GET", "/v1/batches", query=query).json()
        assert BatchList.model_validate(page, strict=True)
        assert page["last_id"] == page["data"][-1]["id"]
        seen += [row["id"] for row in page["data"]]
        more = page["has_more"]
    assert seen == ids[::-1]


def test_keys_of_one_model_see_their_own_batches_only(office: Office) -> None:
    """Keys for every model see all. Tokens of one subject are one key: one with lesser scopes sees and ends nothing."""
    file_id = office.file(scopes="invoke:sentiment", key_id="mine")
    body = {"input_file_id": file_id, "endpoint": "/v1/classifications"}
    mine = office.gateway.post("/v1/batches", body, scopes="invoke:sentiment", key_id="mine").json()["id"]
    for scopes, key_id, status in (
        ("invoke:sentiment", "mine", 200),
        ("invoke:sentiment", "o", 404),
        ("invoke", "o", 200),
        ("read", "mine", 404),
        ("invoke:detection read", "mine", 404),
    ):
        answer = office.gateway.ask("GET", f"/v1/batches/{mine}", scopes=scopes, key_id=key_id)
        assert answer.status == status
        listed = office.gateway.ask("GET", "/v1/batches", scopes=scopes, key_id=key_id).json()["data"]
        assert len(listed) == (status == 200)
    for place in (f"/v1/files/{file_id}", f"/v1/files/{file_id}/content"):
        assert office.gateway.ask("GET", place, scopes="read", key_id="mine").status == 404
    assert office.gateway.ask("DELETE", f"/v1/files/{file_id}", scopes="read", key_id="mine").status == 404
    assert office.gateway.post(f"/v1/batches/{mine}/cancel", {}, scopes="read", key_id="mine").status == 404


_TENANTS = st.sampled_from(["acme", "acme-b", "b"])


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(owners=st.lists(_TENANTS, min_size=1, max_size=5), asker=_TENANTS)
def test_no_tenant_sees_anothers_batches(catalog: Catalog, owners: list[str], asker: str) -> None:
    """Whatever is begun by whom: lists, looks, reports, cancellations and redrives are of a tenant's own alone."""
    office = Office(catalog)
    ids = [(owner, office.batch(tenant=owner)) for owner in owners]
    listed = office.gateway.ask("GET", "/v1/batches", tenant=asker).json()["data"]
    assert {row["id"] for row in listed} == {batch_id for owner, batch_id in ids if owner == asker}
    for owner, batch_id in ids:
        place = f"/v1/batches/{batch_id}"
        answers = [
            office.gateway.ask("GET", place, tenant=asker),
            office.gateway.post(f"{place}/cancel", {}, tenant=asker),
        ]
        assert [answer.status for answer in answers] == [200 if owner == asker else 404] * 2
        again = office.gateway.post(f"{place}/redrive", {}, tenant=asker)
        assert again.json()["error"]["code"] == ("not_redrivable" if owner == asker else "batch_not_found")
        assert (office.table.batches[owner, batch_id].state == "cancelling") is (owner == asker)


def test_records_hold_no_metadata(office: Office) -> None:
    """What is logged of a batch: ids."""
    office.batch(metadata={"secret-name": "secret-value"}, webhook="https://example.com/secret")
    assert "secret" not in json.dumps(office.gateway.records)


def test_without_batches_there_are_no_such_routes(office: Office, catalog: Catalog) -> None:
    """A gateway that is not wired for them answers as for any path that it does not have."""
    bare = Office(catalog).gateway
    bare.batches = None
    bare.__post_init__()
    assert bare.ask("GET", "/v1/batches").json()["error"]["code"] == "route_not_found"
    assert bare.ask("GET", "/v1/files").status == 404
    assert office.gateway.ask("GET", "/v1/batches").status == 200
