"""What a file says of itself, as values that pass between the child process and its parent as JSON."""

from dataclasses import dataclass
from typing import Any

Size = int | str | None
"""A dimension: fixed, free under a name, or free."""


@dataclass(frozen=True, slots=True)
class FilePort:
    """An input or output as the file declares it. ``shape`` is None where no rank is declared."""

    name: str
    datatype: str
    shape: tuple[Size, ...] | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape with -1 where any size goes; an undeclared rank is a scalar, as ONNX Runtime reports it."""
        return tuple(size if isinstance(size, int) else -1 for size in self.shape or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a file says.

    Attributes:
        ir_version: Version of the format.
        opsets: Domain → version of its operators.
        producer: What wrote it.
        inputs: What callers must send: without initialisers.
        outputs: Tensors that it answers with.
        left_out: Outputs that are no tensors, which the protocol cannot carry.
        nodes: Number of nodes, in all subgraphs and functions.
        operators: Domain-qualified operators, and how often each stands.
        parameters: Elements of all initialisers.
        external: Files beside it that hold tensors.
        metadata: Keys of its own notes (labels, licence, …).
        notes: What is odd and does not stand in the way.
    """

    ir_version: int
    opsets: dict[str, int]
    producer: str
    inputs: tuple[FilePort, ...]
    outputs: tuple[FilePort, ...]
    left_out: tuple[str, ...]
    nodes: int
    operators: dict[str, int]
    parameters: int
    external: tuple[str, ...]
    metadata: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What it did when it ran.

    Attributes:
        shapes: Output → shape, -1 where it followed the number of rows or differed from run to run.
        latency_ms: Of one request, the median of a few.
        example: The request that it took, as the protocol has it; None where it is more than an endpoint takes.
        needs_example: Whether the serving program's own made-up request does not do: the artifact must hold this one.
        answer: Output → its values for the example, where they are few and finite; None elsewhere.
        peak_bytes: Memory at most, of the whole process.
    """

    shapes: dict[str, tuple[int, ...]]
    latency_ms: float
    example: dict[str, Any] | None
    needs_example: bool
    answer: dict[str, list[Any] | None]
    peak_bytes: int


def read_facts(document: dict[str, Any]) -> Facts:
    """Facts out of the JSON of ``dataclasses.asdict``."""
    ports = {
        side: tuple(
            FilePort(port["name"], port["datatype"], None if port["shape"] is None else tuple(port["shape"]))
            for port in document[side]
        )
        for side in ("inputs", "outputs")
    }
    lists = {name: tuple(document[name]) for name in ("left_out", "external", "metadata", "notes")}
    return Facts(**{**document, **ports, **lists})


def read_trial(document: dict[str, Any]) -> Trial:
    """A trial out of the JSON of ``dataclasses.asdict``."""
    return Trial(**{**document, "shapes": {name: tuple(shape) for name, shape in document["shapes"].items()}})
