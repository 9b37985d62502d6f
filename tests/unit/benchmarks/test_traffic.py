"""What is counted of a request's calls, and what is asked for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.report import Report
from benchmarks.traffic import costs
from benchmarks.traffic.account import PURPOSE_HEADER, READ_HEADER, WRITE_HEADER, Metered, purpose, written_items
from benchmarks.traffic.capacity import Item, item_bytes, read_units, write_units
from benchmarks.traffic.counting import Made
from benchmarks.traffic.drive import Found, Served, share_without_waiting
from benchmarks.traffic.prices import Assumptions, Prices, Work, front_cost, function_cost, total
from benchmarks.traffic.scenarios import SCENARIOS, by, deferred, once, quick, same_text, text

EVENT: dict[str, Any] = {
    "headers": {"Accept": "*/*"},
    "multiValueHeaders": {"Accept": ["*/*"]},
    "requestContext": {"authorizer": {"tenant": "acme", "plan": "standard"}},
}
ASKED = Made("SageMaker InvokeEndpoint", waited=True)
PAID = Made("DynamoDB UpdateItem rate", waited=True, write_units=1.0)
BESIDE = Made("DynamoDB UpdateItem health", waited=False, write_units=2.0)


def served(*calls: Made, cpu_ms: float = 3.0) -> Served:
    """A request that made these calls."""
    return Served(
        answer={"statusCode": 200}, import_ms=0.0, wall_ms=25.0, cpu_ms=cpu_ms, log_bytes=1_000, calls=calls
    )  # fmt: skip


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"pk": {"S": "a"}}, 3),
        ({"pk": {"S": "ä"}}, 4),
        ({"n": {"N": "100"}}, 1 + 2),
        ({"n": {"N": "-1234.5"}}, 1 + 5),
        ({"b": {"B": base64.b64encode(b"12345").decode()}}, 6),
        ({"t": {"BOOL": True}, "u": {"NULL": True}}, 4),
        ({"l": {"L": [{"S": "ab"}, {"S": "c"}]}}, 1 + 3 + 3 + 2),
        ({"m": {"M": {"ab": {"S": "c"}}}}, 1 + 3 + 1 + 2 + 1),
        ({"s": {"SS": ["ab", "c"]}}, 4),
    ],
)
def test_an_item_is_as_large_as_dynamodb_says(item: Item, size: int) -> None:
    """Names and values in UTF-8, a byte for two digits, and the overhead of lists and maps."""
    assert item_bytes(item) == size


def test_an_unknown_type_is_an_error() -> None:
    """A type that DynamoDB does not have is not counted as nothing."""
    with pytest.raises(ValueError, match="no type X"):
        item_bytes({"a": {"X": 1}})


@given(st.integers(0, 20_000), st.integers(0, 20_000))
def test_a_write_costs_the_larger_of_both_sizes(before: int, after: int) -> None:
    """Shrinking an item costs as much as growing it, and no write is free."""
    old, new = ({"a": {"S": "x" * size}} for size in (before, after))
    assert write_units(old, new) == write_units(new, old) == -(-(max(before, after) + 1) // 1024)
    assert write_units(None, None) == 1


def test_a_read_is_rounded_once_and_halved_without_consistency() -> None:
    """Items of a query are added up before rounding; an empty read costs what a small one does."""
    kilobyte = {"a": {"S": "x" * 1023}}
    assert read_units([kilobyte] * 4, consistent=True) == 1
    assert read_units([kilobyte] * 5, consistent=False) == 1
    assert read_units([], consistent=False) == 0.5


def call(application: Metered, action: str, body: dict[str, Any]) -> dict[str, str]:
    """The headers of an answer."""
    data = json.dumps(body).encode()
    environ = {
        "HTTP_X_AMZ_TARGET": f"DynamoDB_20120810.{action}",
        "CONTENT_LENGTH": str(len(data)),
        "wsgi.input": BytesIO(data),
    }
    found: dict[str, str] = {}
    b"".join(application(environ, lambda _, headers: found.update(headers)))
    return found


def test_an_answer_tells_what_its_call_consumed() -> None:
    """A write is charged by the item as it was before and as it is afterwards; nothing else of the answer changes."""
    stored: Item = {"pk": {"S": "rate#acme#0"}, "tat": {"S": "x" * 3_000}}

    def inner(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        key = json.loads(environ["wsgi.input"].read())["Key"]
        stored["tat"] = {"S": "x"}
        start_response("200 OK", [("content-type", "application/json")])
        return [json.dumps({"Item": {**stored, **key}}).encode()]

    found = call(
        Metered(inner, find=lambda *_: dict(stored)),
        "UpdateItem",
        {"TableName": "state", "Key": {"pk": {"S": "rate#acme#0"}}},
    )  # fmt: skip
    assert found[WRITE_HEADER] == "3"
    assert found[READ_HEADER] == "0.0"
    assert found[PURPOSE_HEADER] == "rate"
    read = call(
        Metered(inner, find=lambda *_: None), "GetItem", {"TableName": "state", "Key": {"pk": {"S": "job#acme"}}}
    )
    assert (read[READ_HEADER], read[PURPOSE_HEADER], read["content-type"]) == ("0.5", "job", "application/json")


def test_everything_that_a_call_writes_is_found() -> None:
    """Transactions name several tables; reads write nothing."""
    key = {"pk": {"S": "a"}}
    put = {"Put": {"TableName": "t", "Item": key}}
    assert written_items("TransactWriteItems", {"TransactItems": [put, put]}) == [("t", key)] * 2
    assert written_items("Query", {"TableName": "t"}) == []
    assert purpose({"ExpressionAttributeValues": {":pk": {"S": "health#e"}}}) == "health"
    assert purpose({"TransactItems": [put]}) == ""


def test_a_request_waits_only_for_what_its_own_thread_asks() -> None:
    """The endpoint's call is no state call, and work beside the request is not waited for."""
    assert share_without_waiting([served(ASKED, BESIDE), served(ASKED, PAID)]) == 0.5
    assert served(ASKED, PAID, BESIDE).state_waits == (PAID,)


def test_billed_time_is_cpu_and_waiting_rounded_up() -> None:
    """Lambda bills whole milliseconds: CPU, the endpoint's time, and state calls that were waited for."""
    given_ = Assumptions(target_ms=20, state_ms=5, cpu_factor=2)
    work = costs.work_of([served(ASKED, PAID, BESIDE, cpu_ms=1.75)], memory_mb=1_024)
    assert work.billed_ms(given_) == 29  # 3.5 + 20 + 5, rounded up
    assert (work.write_units, work.calls) == (3.0, {PAID.what: 1.0, BESIDE.what: 1.0})


def test_a_request_costs_what_its_parts_cost() -> None:
    """Each part is priced once, and the sum of costs is the sum of their parts."""
    prices, given_ = Prices(), Assumptions(platform_log_bytes=0)
    calls = {"S3 PutObject": 1.0, "S3 GetObject": 1.0, "SQS SendMessage": 1.0, "Secrets Manager GetSecretValue": 1.0}
    work = Work(1_024, 1_000.0, 0, 0, calls, write_units=2, read_units=4, log_bytes=2**30)
    cost = function_cost(work, prices=prices, given=given_)
    assert cost["Lambda"] == pytest.approx(prices.invocation + prices.gb_second)
    assert cost["DynamoDB"] == pytest.approx(2 * prices.write_unit + 4 * prices.read_unit)
    assert cost["logs"] == pytest.approx(0.50)
    assert cost["S3, SQS, secrets"] == pytest.approx(0.005e-3 + 0.0004e-3 + 0.4e-6 + 5e-6)
    both = total(cost, front_cost(prices=prices, given=given_))
    assert both["API Gateway"] == prices.api_request
    assert sum(both.values()) == pytest.approx(
        sum(cost.values()) + sum(front_cost(prices=prices, given=given_).values())
    )  # fmt: skip


def test_events_differ_as_their_scenario_says() -> None:
    """New texts miss the cache, the same one hits it; keys and preferences travel as headers; the plain event stays."""
    assert text(EVENT, 1)["body"] != text(EVENT, 2)["body"]
    assert same_text(EVENT, 1)["body"] == same_text(EVENT, 2)["body"]
    assert once(EVENT, 7)["multiValueHeaders"]["Idempotency-Key"] == ["order-7"]
    assert deferred(EVENT, 7)["headers"]["Prefer"] == "respond-async"
    assert by(EVENT, tenant="t", plan="p")["requestContext"]["authorizer"] == {"tenant": "t", "plan": "p"}
    assert "Prefer" not in EVENT["headers"]


def test_a_quick_run_has_something_to_count() -> None:
    """However seldom its requests are, some are left after the skipped ones."""
    for scenario in map(quick, SCENARIOS):
        assert round(scenario.seconds * scenario.rate_per_s) > scenario.skipped


def test_the_report_tells_calls_units_and_dollars() -> None:
    """Every scenario appears with its price, and the share that waits for nothing is held against its target."""
    report = Report("toy", "Toys", {})
    found = [
        Found(
            scenario, first=served(ASKED, PAID), served=(served(ASKED, BESIDE), served(ASKED, PAID)), store_failures=0
        )
        for scenario in SCENARIOS
    ]
    memory_mb = dict.fromkeys({scenario.module for scenario in SCENARIOS}, 1_769)
    costs.add(report, found, memory_mb=memory_mb, instances=[("e", "ml.g5.xlarge", 1, 4)])
    (target,) = report.targets
    assert (target.reached, target.met) == ("50.0%", False)
    traffic, calls, dollars, instances, assumptions = report.tables
    assert len(traffic.rows) == len(SCENARIOS) + 1
    assert ("10 per second", PAID.what, "waited for", "0.500") in calls.rows
    assert all(float(row[-1]) > 4 for row in dollars.rows)
    assert instances.rows == (("e", "ml.g5.xlarge", "1 to 4", "1.408", "1.41 to 5.63"),)
    assert ("price: region", "us-east-1") in assumptions.rows
    for table in report.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
