"""The Open Inference Protocol as bytes: what is written can be read, and what does not add up is refused."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace import oip
from headrace.errors import InvalidAnswer, InvalidRequest, PayloadTooLarge
from headrace.inference import InferenceRequest, InferenceResponse, Tensor, check_inputs, check_outputs, plain
from headrace.tensors import TensorSpec

MEBIBYTE = 1 << 20


def tensor(**changes: Any) -> dict[str, Any]:
    """A good tensor in JSON, changed as asked."""
    return {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2.5], **changes}


def request_of(*rows: Any, head_bytes: int | None = None, **fields: Any) -> InferenceRequest:
    """Read a request that is written like this."""
    body = json.dumps({"inputs": list(rows), **fields}).encode()
    return oip.read_request(body, head_bytes=head_bytes, bytes_max=MEBIBYTE)


_elements = {
    "BYTES": st.text(st.characters(codec="utf-8")),
    "FP32": st.floats(width=32, allow_nan=False, allow_infinity=False),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "UINT8": st.integers(0, 255),
    "BOOL": st.booleans(),
}


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    """A tensor, by value or raw."""
    datatype = draw(st.sampled_from(sorted(_elements)))
    rows, columns = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    data = draw(st.lists(_elements[datatype], min_size=rows * columns, max_size=rows * columns))
    if datatype == "BYTES" and draw(st.booleans()):
        return Tensor("t", datatype, (rows, columns), raw=oip.raw_bytes([text.encode() for text in data]))
    if datatype == "FP32" and draw(st.booleans()):
        return Tensor("t", datatype, (rows, columns), raw=struct.pack(f"<{len(data)}f", *data))
    return Tensor("t", datatype, (rows, columns), data=data)


@given(st.lists(tensors(), min_size=1, max_size=4), st.text(st.characters(codec="utf-8"), max_size=20))
def test_a_request_survives_the_wire(inputs: list[Tensor], request_id: str) -> None:
    """Whatever mix of JSON and raw tensors is written is read back alike."""
    request = InferenceRequest(inputs=tuple(inputs), id=request_id, parameters={"k": 1})
    content_type, body = oip.write_request(request)
    head = oip.head_length(content_type)
    read = oip.read_request(body, head_bytes=None if head is None else int(head), bytes_max=MEBIBYTE)
    assert (read.id, read.parameters) == (request_id, {"k": 1})
    for sent, got in zip(inputs, read.inputs, strict=True):
        assert (got.datatype, got.shape, got.data, got.raw) == (sent.datatype, sent.shape, sent.data, sent.raw)


@given(st.lists(tensors(), min_size=1, max_size=4))
def test_a_response_survives_the_wire(outputs: list[Tensor]) -> None:
    """An endpoint's answer, JSON or binary, is read as it was written."""
    head, body = oip.write_response(
        InferenceResponse(outputs=tuple(outputs)), model_name="m", model_version="v", request_id=""
    )
    read = oip.read_response(oip.JSON_TYPE if head is None else f"{oip.BINARY_TYPE}{head}", body)
    assert [(t.shape, t.data, t.raw) for t in read.outputs] == [(t.shape, t.data, t.raw) for t in outputs]


def test_data_may_be_nested_or_flat() -> None:
    """The protocol allows both; they mean the same."""
    flat = request_of(tensor(shape=[2, 2], data=[1, 2, 3, 4]))
    assert request_of(tensor(shape=[2, 2], data=[[1, 2], [3, 4]])).inputs == flat.inputs


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (7, "wrong_type"),
        (tensor(name=""), "wrong_name"),
        (tensor(name=None), "wrong_name"),
        (tensor(datatype="FP99"), "wrong_datatype"),
        (tensor(datatype=["FP32"]), "wrong_datatype"),
        (tensor(shape=2), "wrong_shape"),
        (tensor(shape=[-1]), "wrong_shape"),
        (tensor(shape=[True, 2]), "wrong_shape"),
        (tensor(shape=[2.0]), "wrong_shape"),
        (tensor(shape=[1] * 9), "wrong_shape"),
        (tensor(shape=[1 << 50, 0]), "wrong_shape"),
        (tensor(data="xy"), "wrong_data"),
        (tensor(data=[1]), "wrong_data_size"),
        (tensor(data=[1, "2"]), "wrong_element"),
        (tensor(data=[1, None]), "wrong_element"),
        (tensor(data=[True, 1]), "wrong_element"),
        (tensor(data=[[1], 2]), "wrong_element"),
        (tensor(datatype="INT8", data=[1, 128]), "wrong_element"),
        (tensor(datatype="UINT64", data=[1, -1]), "wrong_element"),
        (tensor(datatype="BOOL", data=[0, 1]), "wrong_element"),
        (tensor(datatype="BYTES", data=["a", 1]), "wrong_element"),
        (tensor(parameters=[]), "wrong_type"),
        (tensor(parameters={"binary_data_size": 8}), "wrong_data_size"),
        (tensor(parameters={"binary_data_size": True}), "wrong_data_size"),
    ],
)
def test_refuses_a_tensor_that_does_not_add_up(row: object, code: str) -> None:
    """Name, datatype, shape, count and elements are each checked, with a code and the tensor's path."""
    with pytest.raises(InvalidRequest) as refusal:
        request_of(row)
    assert refusal.value.code == code
    assert refusal.value.field is not None
    assert refusal.value.field.startswith("inputs[0]")


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b'{"inputs":[]}', b'{"inputs":{}}', b'{"inputs":[{}],"outputs":3}', b'{"inputs":7}'],
)
def test_refuses_what_is_no_request(body: bytes) -> None:
    """The frame around the tensors is checked too."""
    with pytest.raises(InvalidRequest):
        oip.read_request(body, head_bytes=None, bytes_max=MEBIBYTE)


@pytest.mark.parametrize(
    "fields", [{"id": 7}, {"parameters": 1}, {"outputs": [{}]}, {"outputs": [{"name": "x", "parameters": 3}]}]
)
def test_refuses_wrong_fields_beside_the_tensors(fields: dict[str, Any]) -> None:
    """A request's id, parameters and outputs have types."""
    with pytest.raises(InvalidRequest):
        request_of(tensor(), **fields)


def test_the_binary_head_and_tail_must_fit() -> None:
    """A head beyond the body, bytes left over, and a BYTES tensor cut inside an element are refused."""
    with pytest.raises(InvalidRequest):
        oip.read_request(b"{}", head_bytes=3, bytes_max=MEBIBYTE)
    head = json.dumps(
        {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}]}
    ).encode()
    for tail in (b"\x01\x00\x00\x00a!", b"\x02\x00\x00\x00a", b"\x01\x00\x00"):
        with pytest.raises(InvalidRequest):
            oip.read_request(head + tail, head_bytes=len(head), bytes_max=MEBIBYTE)
    assert oip.read_request(head + b"\x01\x00\x00\x00a", head_bytes=len(head), bytes_max=MEBIBYTE).inputs[0].raw


def test_the_size_bound_covers_the_raw_part() -> None:
    """A small head does not smuggle a large tail past the bound."""
    with pytest.raises(PayloadTooLarge):
        oip.read_request(b"{}" + b"x" * 100, head_bytes=2, bytes_max=50)


@given(st.binary(max_size=300))
def test_any_answer_is_read_or_invalid(body: bytes) -> None:
    """Rubbish from an endpoint is an invalid answer, in JSON or with a head of any length."""
    for content_type in (oip.JSON_TYPE, f"{oip.BINARY_TYPE}10", "text/html"):
        with pytest.raises(InvalidAnswer):
            oip.read_response(content_type, body)


SPECS = (TensorSpec("x", "FP32", (-1, 2)), TensorSpec("y", "INT64", (-1,)))


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ([Tensor("x", "FP32", (1, 2))], "missing_input"),
        ([Tensor("x", "FP32", (1, 2)), Tensor("x", "FP32", (1, 2))], "unexpected_input"),
        ([Tensor("z", "FP32", (1, 2))], "unexpected_input"),
        ([Tensor("x", "FP64", (1, 2))], "wrong_datatype"),
        ([Tensor("x", "FP32", (1, 3))], "wrong_shape"),
        ([Tensor("x", "FP32", (2,))], "wrong_shape"),
        ([Tensor("x", "FP32", (0, 2))], "too_many_items"),
        ([Tensor("x", "FP32", (5, 2))], "too_many_items"),
    ],
)
def test_inputs_are_held_against_the_signature(inputs: list[Tensor], code: str) -> None:
    """Missing, unknown, repeated or misshapen inputs and batches that are empty or too large are refused."""
    with pytest.raises(InvalidRequest) as refusal:
        check_inputs(InferenceRequest(inputs=tuple(inputs)), SPECS, items_max=4)
    assert refusal.value.code == code


def test_outputs_are_held_against_the_signature() -> None:
    """Only the outputs asked for must be there, and each as promised."""
    good = InferenceResponse(outputs=(Tensor("x", "FP32", (1, 2)), Tensor("y", "INT64", (1,))))
    check_outputs(good, SPECS, wanted=frozenset())
    with pytest.raises(InvalidAnswer):
        check_outputs(good, SPECS, wanted=frozenset({"x"}))
    with pytest.raises(InvalidAnswer):
        check_outputs(InferenceResponse(outputs=(Tensor("x", "FP32", (1, 3)),)), SPECS, wanted=frozenset({"x"}))
    with pytest.raises(KeyError):
        check_outputs(InferenceResponse(outputs=()), SPECS, wanted=frozenset())


@given(st.lists(st.floats(width=32), max_size=8))
def test_raw_numbers_become_lists(values: list[float]) -> None:
    """What was packed as FP32 is judged as the same numbers, NaN and infinity included."""
    raw = struct.pack(f"<{len(values)}f", *values)
    (read,) = plain(InferenceResponse(outputs=(Tensor("x", "FP32", (len(values),), raw=raw),))).outputs
    assert repr(read.data) == repr(values)
