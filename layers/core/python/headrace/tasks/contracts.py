"""Which tasks there are, and the tensors each one promises on the wire.

A task's signature is the contract between the gateway and any endpoint that claims the task, ours or another Open
Inference Protocol server. `labels` says whether the columns of an answer are named by the declaration.
"""

from __future__ import annotations

from dataclasses import dataclass

from headrace.tensors import BYTES, FREE, TensorSpec

TEXT_CLASSIFICATION = "text-classification"
OBJECT_DETECTION = "object-detection"
TABULAR_SCORING = "tabular-scoring"
TENSORS = "tensors"
"""A model that fits no other task: tensors as it declares them, asked through `/v2` alone."""


@dataclass(frozen=True, slots=True)
class TaskContract:
    """The tensors of a task. Empty `inputs` means that each endpoint declares its own."""

    name: str
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    needs_labels: bool = False
    takes_text: bool = False
    takes_images: bool = False

    @property
    def declares_tensors(self) -> bool:
        """Whether an endpoint of this task must declare its inputs and outputs itself."""
        return not self.inputs


TASKS: dict[str, TaskContract] = {
    contract.name: contract
    for contract in (
        TaskContract(
            TEXT_CLASSIFICATION,
            inputs=(TensorSpec("text", BYTES, (FREE,)),),
            outputs=(TensorSpec("label", BYTES, (FREE,)), TensorSpec("probabilities", "FP32", (FREE, FREE))),
            needs_labels=True,
            takes_text=True,
        ),
        TaskContract(
            OBJECT_DETECTION,
            inputs=(TensorSpec("image", BYTES, (1,)),),
            outputs=(
                TensorSpec("boxes", "FP32", (FREE, 4)),
                TensorSpec("scores", "FP32", (FREE,)),
                TensorSpec("labels", BYTES, (FREE,)),
                TensorSpec("size", "INT32", (2,)),
            ),
            takes_images=True,
        ),
        TaskContract(TABULAR_SCORING),
        TaskContract(TENSORS),
    )
}
