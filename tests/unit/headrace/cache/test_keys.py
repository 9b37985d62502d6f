"""Keys of kept answers: equal for equal questions of one tenant, and for nothing else."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.cache.keys import answer_key
from headrace.catalog import Version
from headrace.framing import framed
from headrace.inference import InferenceRequest, Tensor

PEPPER = b"p" * 32
VERSION = Version("v1", "sha256:" + "a" * 64, "endpoint", 90)
TENSOR = Tensor("text", "BYTES", (2,), data=["ab", "c"])
REQUEST = InferenceRequest(inputs=(TENSOR,), outputs=({"name": "score"},), parameters={"top": 1}, id="r1")

Question = tuple[str, str, str, Version, InferenceRequest]
BASE: Question = ("acme", "sentiment", "text-classification", VERSION, REQUEST)


def key_of(question: Question, *, pepper: bytes = PEPPER) -> str:
    """The key of tenant, endpoint, task, version and request."""
    tenant, endpoint, task, version, request = question
    return answer_key(tenant, endpoint, version, request, pepper=pepper, task=task)


def with_tensor(**changes: Any) -> Question:
    """The base question with its tensor changed."""
    return (*BASE[:4], replace(REQUEST, inputs=(replace(TENSOR, **changes),)))


def with_request(**changes: Any) -> Question:
    """The base question with its request changed."""
    return (*BASE[:4], replace(REQUEST, **changes))


CHANGES: dict[str, Question] = {
    "tenant": ("other", *BASE[1:]),
    "endpoint": ("acme", "sentiment2", *BASE[2:]),
    "task": ("acme", "sentiment", "embeddings", *BASE[3:]),
    "endpoint and task moved": ("acme", "sentimenttext-classification", "", *BASE[3:]),
    "version": (*BASE[:3], replace(VERSION, name="v2"), REQUEST),
    "artifact": (*BASE[:3], replace(VERSION, artifact="sha256:" + "b" * 64), REQUEST),
    "version and artifact moved": (*BASE[:3], replace(VERSION, name="v1s", artifact="ha256:" + "a" * 64), REQUEST),
    "tensor name": with_tensor(name="texts"),
    "tensor name and datatype moved": with_tensor(name="textBYTES", datatype=""),
    "datatype": with_tensor(datatype="FP32"),
    "shape": with_tensor(shape=(1, 2)),
    "shape in the data": with_tensor(shape=(), data=[2, "ab", "c"]),
    "data": with_tensor(data=["ab", "d"]),
    "data regrouped": with_tensor(data=["a", "bc"]),
    "data joined": with_tensor(data=["ab,c"]),
    "data quoted": with_tensor(data=['ab","c']),
    "data raw": with_tensor(data=None, raw=b'["ab","c"]'),
    "data none": with_tensor(data=None),
    "data as text of it": with_tensor(data=['["ab","c"]']),
    "integers": with_tensor(data=[1, 0]),
    "floats": with_tensor(data=[1.0, 0.0]),
    "negative zero": with_tensor(data=[1.0, -0.0]),
    "booleans": with_tensor(data=[True, False]),
    "strings of integers": with_tensor(data=["1", "0"]),
    "tensor parameters": with_tensor(parameters={"content_type": "str"}),
    "no inputs": with_request(inputs=()),
    "inputs twice": with_request(inputs=(TENSOR, TENSOR)),
    "an input more": with_request(inputs=(TENSOR, replace(TENSOR, name="b"))),
    "the same inputs in another order": with_request(inputs=(replace(TENSOR, name="b"), TENSOR)),
    "outputs": with_request(outputs=({"name": "label"},)),
    "all outputs": with_request(outputs=()),
    "outputs with parameters": with_request(outputs=({"name": "score", "parameters": {"binary_data": True}},)),
    "two outputs": with_request(outputs=({"name": "score"}, {"name": "label"})),
    "parameters": with_request(parameters={"top": 2}),
    "no parameters": with_request(parameters={}),
    "parameter renamed": with_request(parameters={"tops": 1}),
    "parameter true": with_request(parameters={"top": True}),
    "parameter text": with_request(parameters={"top": "1"}),
    "parameter nested": with_request(parameters={"top": {"top": 1}}),
    "outputs moved to parameters": with_request(outputs=(), parameters={"top": 1, "name": "score"}),
}


def test_no_two_questions_share_a_key() -> None:
    """One field changed at a time, and neighbours that trade a boundary: every key is another one."""
    keys = {name: key_of(question) for name, question in {"base": BASE, **CHANGES}.items()}
    by_key: dict[str, list[str]] = {}
    for name, key in keys.items():
        by_key.setdefault(key, []).append(name)
    assert [names for names in by_key.values() if len(names) > 1] == []


@pytest.mark.parametrize(
    "same",
    [
        with_request(id="r2"),
        with_tensor(parameters={"binary_data_size": 7}),
        (*BASE[:3], replace(VERSION, weight=1), REQUEST),
    ],
    ids=["request id", "how it travelled", "traffic weight"],
)
def test_what_does_not_change_the_answer_does_not_change_the_key(same: Question) -> None:
    """The request's id, the size of raw data and a version's share of traffic mean nothing to the model."""
    assert key_of(same) == key_of(BASE)


def test_the_order_of_parameters_means_nothing() -> None:
    """JSON objects have no order."""
    one, other = with_request(parameters={"a": 1, "b": 2}), with_request(parameters={"b": 2, "a": 1})
    assert key_of(one) == key_of(other)


def test_a_key_names_its_tenant_and_hides_the_rest() -> None:
    """`<tenant>#<64 hexadecimal digits>`."""
    tenant, _, mac = key_of(BASE).partition("#")
    assert (tenant, len(mac)) == ("acme", 64)
    assert int(mac, 16)


def test_another_pepper_is_another_key() -> None:
    """Nobody without the secret can tell from a key what was asked."""
    assert key_of(BASE, pepper=b"q" * 32) != key_of(BASE)


def test_two_tenants_have_two_secrets() -> None:
    """The MAC itself differs, so that keys do not tell who else asked the same."""
    assert key_of(BASE).partition("#")[2] != key_of(CHANGES["tenant"]).partition("#")[2]


_names = st.text(st.sampled_from('ab,"[]{}:\0'), max_size=4)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, -1.0]) | _names,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_names, inner, max_size=2),
    max_leaves=4,
)
_tensors = st.builds(
    Tensor,
    _names,
    st.sampled_from(["BYTES", "FP32", ""]),
    st.lists(st.integers(0, 2), max_size=2).map(tuple),
    data=st.lists(_values, max_size=3),
) | st.builds(Tensor, _names, st.just("BYTES"), st.just((1,)), raw=st.binary(max_size=6))
_requests = st.builds(
    InferenceRequest,
    inputs=st.lists(_tensors, max_size=2).map(tuple),
    outputs=st.lists(st.dictionaries(_names, _values, max_size=2), max_size=2).map(tuple),
    parameters=st.dictionaries(_names, _values, max_size=2),
)
_questions = st.tuples(
    st.sampled_from(["acme", "acme-2", "a"]),
    _names,
    _names,
    st.builds(Version, _names, _names, st.just("endpoint"), st.just(1)),
    _requests,
)


@given(_questions, _questions)
def test_different_questions_have_different_keys(one: Question, other: Question) -> None:
    """Over questions drawn from the characters that separate things."""
    assume(repr(one) != repr(other))  # `==` takes 1, 1.0 and True for the same; a model need not
    assert key_of(one) != key_of(other)


@given(
    st.sampled_from(["acme", "acme-2", "b"]),
    st.sampled_from(["acme", "acme-2", "b"]),
    st.binary(max_size=4),
    st.binary(max_size=4),
    _requests,
)
def test_no_key_material_lets_tenants_meet(
    tenant: str, other: str, pepper: bytes, other_pepper: bytes, request: InferenceRequest
) -> None:
    """Whatever the secrets, even equal or empty ones, two tenants' keys differ."""
    assume(tenant != other)
    one = answer_key(tenant, "e", VERSION, request, pepper=pepper)
    assert one != answer_key(other, "e", VERSION, request, pepper=other_pepper)
    assert one.partition("#")[0] == tenant


_parts = st.lists(st.binary(max_size=12), max_size=4)


@given(_parts, _parts)
def test_framing_is_unambiguous(one: list[bytes], other: list[bytes]) -> None:
    """Two sequences look alike only when they are."""
    assert (b"".join(framed(one)) == b"".join(framed(other))) == (one == other)
