"""From records to requests, and from answers to lines."""

import json
from base64 import b64encode
from typing import Any

import pytest

from headrace import oip
from headrace.batches.reading.records import Bad, Record
from headrace.batches.scoring.answering import dump_slips, error_line, load_slips, reader, result_lines
from headrace.batches.scoring.asking import Ask, as_text, ask_of, joined, needs_loading
from headrace.batches.states import Options
from headrace.catalog import Endpoint
from headrace.errors import InvalidAnswer, StoreUnavailable, UnknownTarget
from headrace.inference import InferenceResponse, Tensor
from tests.unit.headrace.batches.world import answer_to, batch_catalog

CLASSIFY = Options("sentiment", "/v1/classifications")
DETECT = Options("detection", "/v1/detections")
PROTOCOL = Options("sentiment", "/v2/models/sentiment/infer")
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


def endpoint(name: str = "sentiment") -> Endpoint:
    """A declared one."""
    return batch_catalog().endpoint(name)


def record(body: dict[str, Any], *, openai: bool = False, url: str = "", line: int = 1) -> Record:
    """A record as it was read."""
    return Record(line, 100, f"t{line}", body, url, openai)


def asked(found: Ask | Bad) -> Ask:
    """What can be asked."""
    assert isinstance(found, Ask), found
    return found


def no_image(_: str) -> bytes:
    """There is none."""
    raise UnknownTarget("There is no such object.", code="object_not_found")


def ask(body: dict[str, Any], options: Options = CLASSIFY, **told: Any) -> Ask | Bad:
    """What a record asks."""
    name = options.endpoint
    return ask_of(record(body, **told), endpoint=endpoint(name), options=options, image=no_image)


@pytest.mark.parametrize("field", ["input", "text"])
def test_a_bare_record_has_its_text_in_one_of_two_fields(field: str) -> None:
    """Whatever its owner keeps beside it is passed over."""
    found = asked(ask({field: "hello", "stars": 3}))
    assert (found.texts, found.items, found.several, found.chars) == (["hello"], 1, False, 5)


def test_a_request_of_openais_shape_takes_what_the_route_takes() -> None:
    """Its body may hold a list of texts, and names no field that the route does not know."""
    found = asked(ask({"input": ["a", "b"], "model": "sentiment"}, openai=True, url="/v1/classifications"))
    assert (found.items, found.several, found.openai) == (2, True, True)
    refused = ask({"text": "a"}, openai=True, url="/v1/classifications")
    assert isinstance(refused, Bad)
    assert refused.code == "invalid_body"


@pytest.mark.parametrize(
    ("body", "told", "code", "field"),
    [
        ({}, {}, "missing_text", "text"),
        ({"text": 5}, {}, "wrong_type", "text"),
        ({"text": []}, {}, "wrong_type", "text"),
        ({"text": "  "}, {}, "empty_text", "text"),
        ({"input": ["a", ""]}, {}, "empty_text", "input[1]"),
        ({"text": "x" * 51}, {}, "text_too_long", "text"),
        ({"text": ["x"] * 9}, {}, "too_many_items", "text"),
        ({"input": "a", "model": "other"}, {"openai": True, "url": "/v1/classifications"}, "wrong_model", "model"),
        ({"input": "a"}, {"openai": True, "url": "/v1/detections"}, "wrong_url", "url"),
    ],
)
def test_a_bad_record_says_why_and_where(body: dict[str, Any], told: dict[str, Any], code: str, field: str) -> None:
    """The code is stable, the field is its place, and the message quotes nothing."""
    found = ask(body, **told)
    assert isinstance(found, Bad)
    assert (found.code, found.field, found.custom_id, found.end) == (code, field, "t1", 100)


def test_texts_of_several_records_travel_in_one_request() -> None:
    """Their order is that of the records."""
    asks = [asked(ask({"text": "a"})), asked(ask({"text": ["b", "c"]}))]
    request = joined(asks)
    assert (request.inputs[0].shape, request.inputs[0].data) == ((3,), ["a", "b", "c"])


def test_an_image_comes_in_base64_or_by_its_address() -> None:
    """The object is read by whoever reads objects; parameters come from the record, the batch, or the task."""
    body = {"image": {"base64": b64encode(PNG).decode()}, "threshold": 0.5}
    found = asked(ask(body, Options("detection", "/v1/detections", parameters=(("max_detections", "7"),))))
    assert found.request is not None
    assert {**found.request.parameters} == {"threshold": 0.5, "max_detections": 7, "max_pixels": 40_000_000}
    named = record({"image": {"s3": "s3://inputs/tenants/acme/a.png"}})
    assert needs_loading(named, endpoint=endpoint("detection"))
    loaded = ask_of(named, endpoint=endpoint("detection"), options=DETECT, image=lambda _: PNG)
    assert asked(loaded).size == len(PNG)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "missing_image"),
        ({"image": "base64"}, "wrong_type"),
        ({"image": {"base64": "!"}}, "invalid_base64"),
        ({"image": {"base64": b64encode(b"GIF89a").decode()}}, "unsupported_image"),
        ({"image": {"s3": "s3://inputs/gone"}}, "object_not_found"),
        ({"image": {"base64": b64encode(PNG).decode()}, "threshold": "0.5"}, "invalid_body"),
        ({"image": {"base64": b64encode(PNG).decode()}, "max_detections": 0}, "invalid_body"),
        ({"image": {"base64": b64encode(PNG).decode()}, "threshold": 2}, "invalid_body"),
    ],
)
def test_an_image_that_cannot_be_asked_is_that_records_error(body: dict[str, Any], code: str) -> None:
    """Whether it is missing, broken or of another kind."""
    found = ask(body, DETECT)
    assert isinstance(found, Bad)
    assert found.code == code


def test_an_object_that_cannot_be_read_now_is_nobodys_fault() -> None:
    """It is tried again: the record is not bad."""

    def away(_: str) -> bytes:
        raise StoreUnavailable("Down.")

    with pytest.raises(StoreUnavailable):
        ask_of(record({"image": {"s3": "s3://a/b"}}), endpoint=endpoint("detection"), options=DETECT, image=away)


def test_a_protocol_request_is_checked_as_the_route_checks_it() -> None:
    """It travels alone, as it is; raw tensors do not fit a line."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
    found = asked(ask({"inputs": [tensor]}, PROTOCOL, openai=True, url=PROTOCOL.url))
    assert (found.items, found.texts, found.chars) == (2, None, 1)
    for body, code in (
        ({"inputs": [{**tensor, "name": "other"}]}, "unexpected_input"),
        ({"inputs": [{**tensor, "data": ["a", " "]}]}, "empty_text"),
        ({"inputs": [tensor], "outputs": [{"name": "secret"}]}, "unknown_output"),
        ({"inputs": [tensor], "parameters": {"binary_data_output": True}}, "no_binary"),
    ):
        refused = ask(body, PROTOCOL)
        assert isinstance(refused, Bad)
        assert refused.code == code


def lines_for(asks: list[Ask], *, degraded: str = "") -> list[dict[str, Any]]:
    """Lines of an answered request."""
    texts = [text for each in asks for text in each.texts or []]
    values = reader(len(texts), None, endpoint=endpoint())(answer_to(texts))
    lines = result_lines(
        asks, values, endpoint=endpoint(), served_by="sentiment/v1", degraded=degraded, batch_id="batch_1"
    )  # fmt: skip
    return [json.loads(line) for line in lines]


def test_a_bare_records_line_is_small() -> None:
    """Its own result, who served it, and whether that was a stand-in."""
    single, several = lines_for([asked(ask({"text": "a"})), asked(ask({"text": ["b", "c"]}))], degraded="timeout")
    assert single["result"] == {
        "label": "neutral", "score": 0.8, "scores": {"negative": 0.1, "neutral": 0.8, "positive": 0.1}
    }  # fmt: skip
    assert [row["index"] for row in several["result"]["results"]] == [0, 1]
    assert (several["served_by"], several["degraded"]) == ("sentiment/v1", "timeout")


def test_openais_shape_gets_the_online_routes_answer() -> None:
    """The body is what `POST /v1/classifications` answers; ids are the same whenever the record is asked."""
    (line,) = lines_for([asked(ask({"input": "a"}, openai=True, url="/v1/classifications", line=7))])
    assert line["id"] == line["response"]["request_id"] == "batch_1-7"
    assert (line["custom_id"], line["error"], line["response"]["status_code"]) == ("t7", None, 200)
    body = line["response"]["body"]
    assert list(body) == ["id", "object", "model", "served_by", "degraded", "results"]
    assert body["results"][0]["label"] == "neutral"


def test_a_protocol_answer_is_one_of_the_protocol() -> None:
    """Outputs as tensors, model and version beside them."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}
    found = asked(ask({"inputs": [tensor]}, PROTOCOL))
    assert found.request is not None
    values = reader(1, found.request, endpoint=endpoint())(answer_to(["a"]))
    (line,) = result_lines(
        [found], values, endpoint=endpoint(), served_by="sentiment/v1", degraded="", batch_id="batch_1"
    )  # fmt: skip
    result = json.loads(line)["result"]
    assert (result["model_name"], result["model_version"]) == ("sentiment", "v1")
    assert [output["name"] for output in result["outputs"]] == ["label", "probabilities"]


def test_an_image_goes_to_a_transform_job_in_base64() -> None:
    """A line of JSON has no room for raw bytes behind it."""
    found = asked(ask({"image": {"base64": b64encode(PNG).decode()}}, DETECT))
    again = oip.read_request(as_text(joined([found])), head_bytes=None, bytes_max=1 << 20)
    assert again.inputs[0].parameters == {"content_type": "base64"}
    assert again.inputs[0].data == [b64encode(PNG).decode()]


def test_slips_remember_whose_a_request_was() -> None:
    """What is needed to write a record's line, and none of its input."""
    asks = [asked(ask({"text": "secret"})), asked(ask({"text": ["b", "c"]}, line=2))]
    line = dump_slips(asks)
    assert b"secret" not in line
    assert [(slip.line, slip.custom_id, slip.items, slip.several) for slip in load_slips(line)] == [
        (1, "t1", 1, False), (2, "t2", 2, True)
    ]  # fmt: skip


def test_an_answer_of_the_wrong_length_is_none() -> None:
    """Two rows for one text say nothing of either."""
    with pytest.raises(InvalidAnswer):
        reader(1, None, endpoint=endpoint())(answer_to(["a", "b"]))
    odd = InferenceResponse((Tensor("label", "BYTES", (1,), data=["x"]),))
    with pytest.raises(KeyError):
        reader(1, None, endpoint=endpoint())(odd)


def test_an_error_line_names_its_record_and_never_quotes_it() -> None:
    """Line, custom_id, code, message and field."""
    line = json.loads(error_line(Bad(3, 9, "t3", "empty_text", "Text must not be empty.", "text"), batch_id="b"))
    assert line == {
        "id": "b-3", "line": 3, "custom_id": "t3", "response": None,
        "error": {"code": "empty_text", "message": "Text must not be empty.", "field": "text"},
    }  # fmt: skip
