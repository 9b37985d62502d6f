"""Requests become arrays and arrays become answers without loss, in JSON and in raw form."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from endpoints.serving.answers import Encoder, encode_document
from endpoints.serving.datatypes import DATATYPES, bf16_to_float32, float32_to_bf16, pack_bytes
from endpoints.serving.errors import BadInput
from endpoints.serving.strict_json import count_keys, load_object, refuse_duplicates
from endpoints.serving.tensors import Signature, decode_request

NUMBERS = [name for name in DATATYPES if name not in ("BYTES", "BOOL")]


def signature(kind: str, *, shape: tuple[int, ...] = (-1, 2)) -> Signature:
    """One input x and one output y of a datatype."""
    return Signature.of(inputs=(("x", kind, shape),), outputs=(("y", kind, shape),))


def body(kind: str, data: Any, *, shape: tuple[int, ...], **fields: Any) -> bytes:
    """Write a JSON request."""
    return json.dumps(
        {"inputs": [{"name": "x", "datatype": kind, "shape": list(shape), "data": data, **fields}]}
    ).encode()


@pytest.mark.parametrize("kind", NUMBERS)
def test_every_number_type_travels_both_ways(kind: str) -> None:
    """Each numeric datatype gives one array from flat JSON, nested JSON and raw bytes, and is written back alike."""
    sign = signature(kind)
    values = [[1, 2], [3, 100]]
    flat = decode_request(body(kind, [1, 2, 3, 100], shape=(2, 2)), signature=sign)
    nested = decode_request(body(kind, values, shape=(2, 2)), signature=sign)
    array = np.array(values, dtype=DATATYPES[kind].dtype)
    raw = float32_to_bf16(array) if kind == "BF16" else array.tobytes()
    head = json.dumps(
        {
            "inputs": [{"name": "x", "datatype": kind, "shape": [2, 2], "parameters": {"binary_data_size": len(raw)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    binary = decode_request(head + raw, signature=sign, json_bytes=len(head))
    for request in (flat, nested, binary):
        np.testing.assert_array_equal(request.tensors["x"], array)
        assert request.tensors["x"].dtype == DATATYPES[kind].dtype
    encoder = Encoder(model="m", version="1")
    text, size = encoder.encode(flat, {"y": array})
    assert size is None
    assert json.loads(text)["outputs"] == [{"name": "y", "datatype": kind, "shape": [2, 2], "data": [1, 2, 3, 100]}]
    text, size = encoder.encode(binary, {"y": array})
    assert size is not None
    assert text[size:] == raw


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        (name, np.iinfo(DATATYPES[name].dtype).min, np.iinfo(DATATYPES[name].dtype).max)
        for name in NUMBERS
        if "INT" in name
    ],
)
def test_integers_are_range_checked(kind: str, low: int, high: int) -> None:
    """The datatype's limits pass; one beyond, or a fraction, is refused rather than wrapped or cut."""
    sign = signature(kind, shape=(1,))
    for number in (low, high):
        assert decode_request(body(kind, [number], shape=(1,)), signature=sign).tensors["x"][0] == number
    for number in (int(low) - 1, int(high) + 1, 0.5):
        with pytest.raises(BadInput) as refused:
            decode_request(body(kind, [number], shape=(1,)), signature=sign)
        assert refused.value.code == "wrong_element_type"


def test_booleans_are_only_booleans() -> None:
    """BOOL takes true and false; numbers for BOOL and booleans for numbers are refused."""
    sign = signature("BOOL")
    array = decode_request(body("BOOL", [True, False], shape=(1, 2)), signature=sign).tensors["x"]
    assert array.tolist() == [[True, False]]
    for kind, data in (("BOOL", [1, 0]), ("INT8", [True, False]), ("FP32", [1.5, False])):
        with pytest.raises(BadInput):
            decode_request(body(kind, data, shape=(1, 2)), signature=signature(kind))


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_bytes_survive_every_form(items: list[bytes]) -> None:
    """Any bytes survive raw form and base64, and are answered as base64 where they are no UTF-8."""
    sign = signature("BYTES", shape=(-1,))
    array = np.array([*items, None], dtype=object)[:-1]
    raw = pack_bytes(array)
    head = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "BYTES",
                    "shape": [len(items)],
                    "parameters": {"binary_data_size": len(raw)},
                }
            ]
        }
    ).encode()
    encoded = [base64.b64encode(item).decode() for item in items]
    in_json = body("BYTES", encoded, shape=(len(items),), parameters={"content_type": "base64"})
    for request in (
        decode_request(head + raw, signature=sign, json_bytes=len(head)),
        decode_request(in_json, signature=sign),
    ):
        assert request.tensors["x"].tolist() == items
        (output,) = encode_document(request, {"y": array}, model="m", version="1")["outputs"]
        if output.get("parameters", {}).get("content_type") == "base64":
            assert [base64.b64decode(item) for item in output["data"]] == items
        else:
            assert [item.encode() for item in output["data"]] == items


@given(
    st.recursive(st.none() | st.text(max_size=5), lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=4))
)
def test_documents_without_duplicates_pass(value: object) -> None:
    """Whatever colons its strings and keys hold, a document whose keys are unique is never taken to repeat one."""
    document = {"a": value}
    refuse_duplicates(json.dumps(document).encode(), keys=count_keys(document))


@given(st.text(max_size=5), st.text(max_size=20))
def test_a_repeated_key_is_always_found(key: str, text: str) -> None:
    """A key given twice is found whatever the values around it hold."""
    name, value = json.dumps(key).encode(), json.dumps(text).encode()
    raw = b'{"o":{%b:%b,%b:1}}' % (name, value, name)
    with pytest.raises(BadInput) as refused:
        refuse_duplicates(raw, keys=count_keys(load_object(raw)))
    assert refused.value.code == "duplicate_key"


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_bf16_keeps_what_it_can(numbers: list[float]) -> None:
    """Rounding to BF16 is idempotent and stays within a 256th (or overflows to infinity, as rounding must)."""
    array = np.array(numbers, dtype=np.float32)
    once = bf16_to_float32(memoryview(float32_to_bf16(array)))
    np.testing.assert_array_equal(bf16_to_float32(memoryview(float32_to_bf16(once))), once)
    finite = np.isfinite(once)
    np.testing.assert_allclose(once[finite], array[finite], rtol=2**-8, atol=1e-37)


def test_outputs_are_chosen_in_order() -> None:
    """Only the outputs asked for are answered, in the order asked, each in its own form."""
    sign = Signature.of(inputs=(("x", "FP32", (-1,)),), outputs=(("a", "FP32", (-1,)), ("b", "FP32", (-1,))))
    document = json.loads(body("FP32", [1], shape=(1,)))
    document["outputs"] = [{"name": "b", "parameters": {"binary_data": True}}, {"name": "a"}]
    request = decode_request(json.dumps(document).encode(), signature=sign)
    ones, twos = np.ones(1, dtype=np.float32), np.full(1, 2, dtype=np.float32)
    text, size = Encoder(model="m", version="1").encode(request, {"a": ones, "b": twos})
    first, second = json.loads(text[:size])["outputs"]
    assert (first["name"], first["parameters"], text[size:]) == ("b", {"binary_data_size": 4}, twos.tobytes())
    assert (second["name"], second["data"]) == ("a", [1])


@pytest.mark.parametrize("data", ["[[1]]", "[[]]", "[[[1]]]"])
def test_nested_data_for_a_scalar_is_refused(data: str) -> None:
    """A scalar's data is a list of one number: nesting it is the caller's mistake, not a crash."""
    text = f'{{"inputs":[{{"name":"x","datatype":"FP32","shape":[],"data":{data}}}]}}'
    with pytest.raises(BadInput):
        decode_request(text.encode(), signature=signature("FP32", shape=()))
