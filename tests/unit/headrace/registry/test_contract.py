"""Which changes of a contract break callers."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.registry.contract import Contract, Port, broken, differences, read_contract

BASE = Contract(
    task="tensors",
    api_version=1,
    inputs=(Port("x", "FP32", (-1, 4), "metres"), Port("mask", "INT64", (-1,))),
    outputs=(Port("y", "FP32", (-1, 3)),),
    labels=("a", "b", "c"),
)
NAMES = st.text("abc_", min_size=1, max_size=3)
PORTS = st.lists(
    st.builds(
        Port,
        NAMES,
        st.sampled_from(["FP32", "INT64", "BYTES"]),
        st.lists(st.integers(-1, 3), max_size=3).map(tuple),
        st.sampled_from(["", "metres"]),
    ),
    max_size=3,
    unique_by=lambda port: port.name,
).map(tuple)
CONTRACTS = st.builds(
    Contract,
    task=st.sampled_from(["tensors", "tabular-scoring"]),
    api_version=st.integers(1, 3),
    inputs=PORTS,
    outputs=PORTS,
    labels=st.lists(NAMES, max_size=4, unique=True).map(tuple),
)


def changed_input(**changes: object) -> Contract:
    """The contract with another first input."""
    return replace(BASE, inputs=(replace(BASE.inputs[0], **changes), BASE.inputs[1]))  # type: ignore[arg-type]


def changed_output(**changes: object) -> Contract:
    """The contract with another output."""
    return replace(BASE, outputs=(replace(BASE.outputs[0], **changes),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (replace(BASE, task="tabular-scoring"), "task: tensors -> tabular-scoring"),
        (changed_input(datatype="FP64"), "inputs.x.datatype: FP32 -> FP64"),
        (changed_input(shape=(1, 4)), "inputs.x.shape: [any, 4] -> [1, 4]"),
        (changed_input(shape=(-1, 4, 1)), "inputs.x.shape: [any, 4] -> [any, 4, 1]"),
        (changed_input(meaning="feet"), "inputs.x.meaning: 'metres' -> 'feet'"),
        (replace(BASE, inputs=BASE.inputs[:1]), "inputs.mask: INT64 [any] -> nothing"),
        (replace(BASE, inputs=(*BASE.inputs, Port("z", "FP32", ()))), "inputs.z: nothing -> FP32 []"),
        (changed_output(datatype="FP16"), "outputs.y.datatype: FP32 -> FP16"),
        (changed_output(shape=(-1, -1)), "outputs.y.shape: [any, 3] -> [any, any]"),
        (replace(BASE, outputs=(Port("z", "FP32", (-1, 3)),)), "outputs.y: FP32 [any, 3] -> nothing"),
        (replace(BASE, labels=("b", "a", "c")), "labels: [0] a -> [0] b (another order)"),
        (replace(BASE, labels=("a", "b", "d")), "labels: 3 labels -> 3 labels, without c, with d added"),
    ],
)
def test_what_callers_would_notice_is_named(after: Contract, said: str) -> None:
    """Each change that breaks a caller is found, and said with what was there and what is."""
    assert any(str(found) == f"{said} (breaks callers)" for found in broken(BASE, after))


@pytest.mark.parametrize(
    "after",
    [
        changed_input(shape=(-1, -1)),
        changed_output(shape=(5, 3)),
        replace(BASE, outputs=(*BASE.outputs, Port("more", "FP32", (-1,)))),
        replace(BASE, inputs=BASE.inputs[::-1]),
        replace(BASE, api_version=2),
    ],
)
def test_what_nobody_notices_breaks_nothing(after: Contract) -> None:
    """A wider input, a narrower output, an output more, another order of tensors: callers go on as they were."""
    assert not broken(BASE, after)


@given(CONTRACTS)
def test_a_contract_keeps_itself(contract: Contract) -> None:
    """A contract differs from itself in nothing, and survives being written and read."""
    assert not differences(contract, contract)
    assert read_contract(contract.document()) == contract
    assert read_contract(contract.document()).digest == contract.digest


@given(CONTRACTS, CONTRACTS)
def test_equal_digests_are_equal_contracts(first: Contract, second: Contract) -> None:
    """Whoever compares digests compares contracts; and what differs is found by `differences`, order aside."""
    assert (first.digest == second.digest) == (first == second)
    if not differences(first, second):
        assert set(first.inputs) == set(second.inputs)
        assert set(first.outputs) == set(second.outputs)


@given(CONTRACTS, CONTRACTS, CONTRACTS)
def test_promises_that_are_kept_twice_are_kept(first: Contract, second: Contract, third: Contract) -> None:
    """If neither of two changes breaks a caller, both together do not."""
    if not broken(first, second) and not broken(second, third):
        assert not broken(first, third)


@pytest.mark.parametrize("document", [None, [], {}, {"task": "x"}, {**BASE.document(), "inputs": [{"name": "x"}]}])
def test_what_is_no_contract_is_refused(document: object) -> None:
    """A damaged record is not taken for a contract."""
    with pytest.raises(ValueError, match="contract"):
        read_contract(document)
