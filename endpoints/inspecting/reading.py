"""Reads the protobuf of an ONNX file and decides whether anything that it says is broken or dangerous.

Runs in the child process. Source: the ONNX specification, https://github.com/onnx/onnx/blob/main/docs/IR.md and
ExternalData.md; what ONNX Runtime can run is left to ONNX Runtime, in the trial.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # stubs would be one more package
from onnx import TensorProto

from endpoints.inspecting.bounds import GRAPH_DEPTH_MAX, NAME_PATTERN, NODES_MAX, PORTS_MAX, RANK_MAX
from endpoints.inspecting.errors import RefusedError
from endpoints.inspecting.facts import Facts, FilePort, Size
from endpoints.inspecting.stored import check_external, check_tensor, shown, stored_tensors

STANDARD = ""
DOMAINS = frozenset({STANDARD, "ai.onnx", "ai.onnx.ml", "com.microsoft"})
"""Whose operators are ONNX Runtime's own code; any other needs a library, which would be code that nobody checked."""
FORBIDDEN = {
    "com.microsoft::PythonOp": "runs Python",
    "com.microsoft::PythonOpGrad": "runs Python",
    "com.microsoft::ATen": "runs PyTorch",
    "com.microsoft::TritonOp": "compiles and runs Python",
    "com.microsoft::EPContext": "loads a compiled file from the disk",
}
DATATYPES = {
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32",
    TensorProto.UINT64: "UINT64",
    TensorProto.INT8: "INT8",
    TensorProto.INT16: "INT16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.FLOAT16: "FP16",
    TensorProto.FLOAT: "FP32",
    TensorProto.DOUBLE: "FP64",
    TensorProto.STRING: "BYTES",
}
_NAME = re.compile(NAME_PATTERN)


def read(path: Path) -> Facts:
    """What an ONNX file says of itself.

    Raises:
        RefusedError: It is broken, or holds what must not be loaded.
    """
    model = _parse(path)
    graph = model.graph
    opsets = {shown(entry.domain) or STANDARD: int(entry.version) for entry in model.opset_import}
    notes: list[str] = []
    if not model.ir_version or not opsets or not graph.node:
        lacks = "ir_version" if not model.ir_version else "opset_import" if not opsets else "nodes"
        raise RefusedError(f"it lacks {lacks}: it is truncated, or was not written by an ONNX exporter")
    functions = {(function.domain or STANDARD, function.name) for function in model.functions}
    graphs = [*_graphs(graph, depth=0), *_function_graphs(model)]
    operators = _operators(graphs, functions=functions, opsets=opsets)
    tensors = [tensor for each in graphs for tensor in stored_tensors(each)]
    external = check_external(tensors, folder=path.parent)
    parameters = sum(check_tensor(tensor) for tensor in tensors)
    given = {tensor.name for tensor in graph.initializer} | {tensor.values.name for tensor in graph.sparse_initializer}
    if hidden := [port.name for port in graph.input if port.name in given]:
        notes.append(
            f"{len(hidden)} initialisers are listed as inputs too, as old exporters do; callers do not send them"
        )
    if model.training_info:
        notes.append("it holds training information, which is not used")
    inputs = [port for port in graph.input if port.name not in given]
    tensors_out = [port for port in graph.output if port.type.WhichOneof("value") == "tensor_type"]
    left_out = tuple(shown(port.name) for port in graph.output if port.type.WhichOneof("value") != "tensor_type")
    if left_out:
        notes.append(f"{shown(', '.join(left_out))}: no tensor, which is all that the protocol carries: left out")
    return Facts(
        ir_version=int(model.ir_version),
        opsets=opsets,
        producer=f"{shown(model.producer_name)} {shown(model.producer_version)}".strip(),
        inputs=_ports(inputs, side="input"),
        outputs=_ports(tensors_out, side="output"),
        left_out=left_out,
        nodes=sum(operators.values()),
        operators=dict(sorted(operators.items(), key=lambda each: (-each[1], each[0]))),
        parameters=parameters,
        external=external,
        metadata=tuple(shown(entry.key) for entry in model.metadata_props),
        notes=tuple(notes),
    )


def _parse(path: Path) -> Any:
    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise RefusedError("it cannot be parsed as ONNX: it is truncated, damaged or another kind of file") from error
    except MemoryError as error:
        raise RefusedError("it needs more memory to be parsed than an inspection may take") from error
    return model


def _graphs(graph: Any, *, depth: int) -> Iterator[Any]:
    if depth > GRAPH_DEPTH_MAX:
        raise RefusedError(f"its graphs are nested more than {GRAPH_DEPTH_MAX} deep")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _graphs(inner, depth=depth + 1)


def _function_graphs(model: Any) -> Iterator[Any]:
    for function in model.functions:
        # What its attributes hold unless a call says otherwise is stored as that of a node is.
        defaults = onnx.NodeProto(op_type="Constant", attribute=function.attribute_proto)
        held = [defaults] if function.attribute_proto else []
        yield from _graphs(onnx.GraphProto(node=[*function.node, *held]), depth=0)


def _operators(graphs: list[Any], *, functions: set[tuple[str, str]], opsets: dict[str, int]) -> Counter[str]:
    """Counts operators and refuses those that are not ONNX Runtime's own."""
    counted: Counter[str] = Counter()
    for graph in graphs:
        for node in graph.node:
            domain, kind = shown(node.domain) or STANDARD, shown(node.op_type)
            name = f"{domain}::{kind}" if domain not in {STANDARD, "ai.onnx"} else kind
            counted[name] += 1
            if name in FORBIDDEN:
                raise RefusedError(f"its operator {shown(name)} {FORBIDDEN[name]}, which a served model must not")
            if (domain, node.op_type) in functions:
                continue
            if domain not in DOMAINS:
                raise RefusedError(
                    f"its operator {shown(name)} is of the domain {shown(domain)}, which needs a library of its own: "
                    "export it with standard operators, or do that step in a model.py"
                )
            if domain not in opsets and not (domain == "ai.onnx" and STANDARD in opsets) and domain != "com.microsoft":
                raise RefusedError(
                    f"its operator {shown(name)} is of the domain {shown(domain)}, which it does not import"
                )
    if counted.total() > NODES_MAX:
        raise RefusedError(f"it has {counted.total()} nodes, and at most {NODES_MAX} are taken")
    return counted


def _ports(ports: list[Any], *, side: str) -> tuple[FilePort, ...]:
    names = [port.name for port in ports]
    if not ports:
        raise RefusedError(f"it has no {side} that a caller could {'send' if side == 'input' else 'read'}")
    if len(ports) > PORTS_MAX or len(set(names)) != len(names):
        raise RefusedError(f"it has two {side}s of one name, or more than {PORTS_MAX}")
    return tuple(_port(port, side=side) for port in ports)


def _port(port: Any, *, side: str) -> FilePort:
    where = f"its {side} {shown(port.name)!r}"
    if not isinstance(port.name, str) or not _NAME.fullmatch(port.name):
        raise RefusedError(
            f"{where} has a name that cannot be declared: rename it to letters, digits, '_', '.', ':', '/', '-'"
        )
    if port.type.WhichOneof("value") != "tensor_type":
        raise RefusedError(
            f"{where} is no tensor, which is all that the protocol carries: add a model.py that makes it"
        )
    kind = port.type.tensor_type
    if kind.elem_type not in DATATYPES:
        name = (
            TensorProto.DataType.Name(kind.elem_type) if kind.elem_type in TensorProto.DataType.values() else "unknown"
        )
        raise RefusedError(f"{where} is of {name}, which the protocol cannot carry: add a Cast, or a model.py")
    if not kind.HasField("shape"):
        if side == "input":
            raise RefusedError(f"{where} declares no rank: export the model with its shapes, or add a model.py")
        return FilePort(port.name, DATATYPES[kind.elem_type], None)
    shape = tuple(_size(size) for size in kind.shape.dim)
    if len(shape) > RANK_MAX:
        raise RefusedError(f"{where} has {len(shape)} dimensions, and at most {RANK_MAX} can be declared")
    if 0 in shape:
        raise RefusedError(f"{where} has a size of 0 in {list(shape)}: export it again with the sizes that it takes")
    return FilePort(port.name, DATATYPES[kind.elem_type], shape)


def _size(size: Any) -> Size:
    if size.HasField("dim_value") and size.dim_value >= 0:
        return int(size.dim_value)
    return str(size.dim_param) or None
