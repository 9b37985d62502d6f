"""What a version promises: the declaration, held against what is served."""

from typing import Any

import pytest

from headrace.declaration.parse import parse_declaration
from headrace.declaration.schema import EndpointDeclaration
from headrace.registry.promised import contract_of
from headrace.registry.versions import RegistryRefusal
from tests.unit.headrace.declarations import DETECTION, SENTIMENT

TENSORS = """\
inputs: [{name: x, datatype: FP32, shape: [-1, 4], meaning: metres}]
outputs: [{name: y, datatype: FP32, shape: [-1, 3]}]
"""


def declared(text: str) -> EndpointDeclaration:
    """A good declaration."""
    declaration, problems = parse_declaration(text, source="endpoint.yaml")
    assert declaration is not None, problems
    return declaration


def own_tensors() -> EndpointDeclaration:
    """A declaration with tensors of its own."""
    return declared(DETECTION.replace("task: object-detection", "task: tensors") + TENSORS)


def served(
    *inputs: tuple[str, str, list[int]], outputs: list[tuple[str, str, list[int]]], **said: Any
) -> dict[str, Any]:
    """A served model's metadata."""
    sides = {"inputs": inputs, "outputs": outputs}
    tensors = {
        side: [dict(zip(("name", "datatype", "shape"), each, strict=True)) for each in sides[side]] for side in sides
    }
    return {**tensors, "parameters": said}


def test_a_fixed_task_promises_what_is_served() -> None:
    """Where the task leaves a size open, the served one, which says more, is the promise."""
    metadata = served(
        ("text", "BYTES", [-1]),
        outputs=[("label", "BYTES", [-1]), ("probabilities", "FP32", [-1, 3])],
        labels=["negative", "neutral", "positive"],
    )
    contract = contract_of(declared(SENTIMENT), metadata)
    assert contract.outputs[1].shape == (-1, 3)
    assert contract.labels == ("negative", "neutral", "positive")


def test_own_tensors_promise_what_is_declared() -> None:
    """With its meaning, and whatever more the model answers."""
    metadata = served(("x", "FP32", [-1, -1]), outputs=[("y", "FP32", [1, 3]), ("extra", "FP32", [1])])
    contract = contract_of(own_tensors(), metadata)
    assert contract.inputs[0].meaning == "metres"
    assert [port.name for port in contract.outputs] == ["y"]


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (served(("x", "INT64", [-1, 4]), outputs=[("y", "FP32", [-1, 3])]), "served INT64"),
        (served(("x", "FP32", [-1, 5]), outputs=[("y", "FP32", [-1, 3])]), r"takes \[-1, 5\]"),
        (served(("x", "FP32", [-1, 4]), ("m", "FP32", [1]), outputs=[("y", "FP32", [-1, 3])]), "m is needed"),
        (served(("x", "FP32", [-1, 4]), outputs=[("z", "FP32", [-1, 3])]), "y is declared .* served nothing"),
    ],
)
def test_a_model_that_does_not_serve_its_declaration_is_refused(metadata: dict[str, Any], said: str) -> None:
    """What is declared and not served is named."""
    with pytest.raises(RegistryRefusal, match=said):
        contract_of(own_tensors(), metadata)


def test_labels_must_be_the_models() -> None:
    """Columns that are called otherwise would be read wrongly."""
    metadata = served(
        ("text", "BYTES", [-1]),
        outputs=[("label", "BYTES", [-1]), ("probabilities", "FP32", [-1, 3])],
        labels=["positive", "neutral", "negative"],
    )
    with pytest.raises(RegistryRefusal, match="labels are positive"):
        contract_of(declared(SENTIMENT), metadata)
