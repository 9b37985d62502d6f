"""Golden requests: what is sent, and how an answer is judged."""

import base64
import hashlib
import json
from typing import Any

import pytest

from headrace.declaration.golden import GoldenDeclaration
from headrace.registry.golden import GoldenProblem, judge, request_body

PICTURE = b"\x89PNG picture"


def golden(**fields: Any) -> GoldenDeclaration:
    """A golden request."""
    return GoldenDeclaration.model_validate(
        {"name": "one", "texts": ["hello"], "expect": [{"output": "y", "shape": [-1]}], **fields}
    )


def judged(answer: list[dict[str, Any]], **expected: Any) -> list[str]:
    """What an answer of these outputs lacks."""
    return judge(golden(expect=[{"output": "y", **expected}]), {"outputs": answer})


def output(*data: object, shape: list[int] | None = None) -> list[dict[str, Any]]:
    """One output called y."""
    return [{"name": "y", "datatype": "FP32", "shape": [len(data)] if shape is None else shape, "data": list(data)}]


def test_texts_become_a_tensor() -> None:
    """Texts are sent as the task's tensor, with the parameters given."""
    body = request_body(golden(texts=["a", "b"], parameters={"top": 1}), None)
    assert body == {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}],
        "parameters": {"top": 1},
    }


def test_a_picture_is_the_one_declared() -> None:
    """A file of another content is not sent."""
    image = {"path": "a.png", "sha256": hashlib.sha256(PICTURE).hexdigest()}
    body = request_body(golden(texts=None, image=image), PICTURE)
    assert base64.b64decode(body["inputs"][0]["data"][0]) == PICTURE
    with pytest.raises(GoldenProblem, match="SHA-256"):
        request_body(golden(texts=None, image=image), PICTURE + b"!")
    with pytest.raises(GoldenProblem, match="cannot be read"):
        request_body(golden(texts=None, image=image), None)


def test_a_request_in_a_file_is_sent_as_it_is() -> None:
    """The file's own parameters stay beside those of the declaration."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}], "parameters": {"a": 1}}
    made = request_body(golden(texts=None, request="r.json", parameters={"b": 2}), json.dumps(body).encode())
    assert made == {**body, "parameters": {"a": 1, "b": 2}}
    for wrong in (b"{", b"[]", b"{}", b'{"inputs": 1}', b"\xff"):
        with pytest.raises(GoldenProblem, match="no inference request"):
            request_body(golden(texts=None, request="r.json"), wrong)


@pytest.mark.parametrize(
    "expected",
    [
        {"equals": [1.0, 2.0]},
        {"near": [1.004, 2.0]},
        {"includes": [2.0]},
        {"between": [1.0, 2.0]},
        {"shape": [-1]},
        {"shape": [2], "near": [1.1, 1.9], "tolerance": 0.11},
    ],
)
def test_a_good_answer_lacks_nothing(expected: dict[str, Any]) -> None:
    """Every kind of expectation can be met."""
    assert judged(output(1.0, 2.0), **expected) == []


@pytest.mark.parametrize(
    ("answer", "expected", "said"),
    [
        (output(1.0), {"equals": [2.0]}, "y: is [1.0], expected [2.0]"),
        (output(1.0), {"near": [1.02]}, "y: [0] is 1, expected 1.02 within 0.01"),
        (output(1.0), {"near": [1.0, 2.0]}, "y: has 1 numbers, expected 2"),
        (output("a"), {"includes": ["b"]}, "y: lacks [b]; it is [a]"),
        (output(3.0), {"between": [0, 1]}, "y: holds [3.0], outside 0 to 1"),
        (output(1.0, shape=[1, 1]), {"shape": [-1]}, "y: has shape [1, 1], expected [-1]"),
        (output(1.0, None), {"shape": [-1]}, "y: holds what is not a finite number"),
        (output(float("nan")), {"near": [0.0], "tolerance": 9.0}, "y: [0] is nan, expected 0 within 9"),
        ([{"name": "z"}], {"shape": [-1]}, "y: no such output; there are z"),
        ([{"name": "y"}], {"shape": [-1]}, "y: is no tensor in JSON"),
    ],
)
def test_a_wrong_answer_is_told(answer: list[dict[str, Any]], expected: dict[str, Any], said: str) -> None:
    """What is wrong is said with what was expected."""
    assert said in judged(answer, **expected)


@pytest.mark.parametrize("answer", [None, [], {}, {"outputs": 1}, {"outputs": [1]}])
def test_what_is_no_answer_is_told(answer: object) -> None:
    """An answer of another form fails, without an error of its own."""
    assert judge(golden(), answer) == ["the answer is no inference response"]
