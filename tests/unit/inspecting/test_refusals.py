"""What is no ONNX file, or must not be loaded, is refused in one line that says why; nothing of it is run."""

import contextlib
import gzip
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from endpoints.inspecting.bounds import GRAPH_DEPTH_MAX, MODEL_BYTES_MAX
from endpoints.inspecting.errors import RefusedError
from endpoints.inspecting.kinds import check_kind
from endpoints.inspecting.reading import read
from tests.serving_models import value
from tests.unit.inspecting.brought import external, model, node, save, scaled


class Trap:
    """Whoever unpickles this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self.path,)


def zipped(content: bytes, *, name: str = "archive/data.pkl") -> bytes:
    """A ZIP archive, as torch.save writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def look(path: Path) -> None:
    """What inspection does before it tries anything out."""
    check_kind(path)
    read(path)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("wrap", ["bare", "zip", "gzip"])
def test_a_pickle_is_never_loaded(tmp_path: Path, protocol: int, wrap: str) -> None:
    """Under any name and in any wrapping it is refused, and what it would do is not done."""
    trap = tmp_path / "sprung"
    raw = pickle.dumps(Trap(trap), protocol=protocol)
    path = tmp_path / "model.onnx"
    path.write_bytes({"bare": raw, "zip": zipped(raw), "gzip": gzip.compress(raw)}[wrap])
    with pytest.raises(RefusedError):
        look(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello, this is a model\n", "text"),
        (zipped(b"\0" * 50_000_000), "ZIP archive"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"GGUF\x03\0\0\0", "GGUF"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ((8).to_bytes(8, "little") + b'{"a":1}', "safetensors"),
        (b"\x1c\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x7fELF\x02", "a program"),
        (b"ORTM\0\0", "ONNX Runtime"),
    ],
)
def test_other_kinds_of_file_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    """The refusal says what the file is."""
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(RefusedError, match=said):
        check_kind(path)


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path) -> None:
    """A missing file, a folder, and one over the bound, of which nothing is read."""
    with pytest.raises(RefusedError, match="there is no such file"):
        check_kind(tmp_path / "none.onnx")
    with pytest.raises(RefusedError, match="is no file"):
        check_kind(tmp_path)
    with (tmp_path / "big.onnx").open("wb") as stream:
        stream.truncate(MODEL_BYTES_MAX + 1)
    with pytest.raises(RefusedError, match=f"at most {MODEL_BYTES_MAX}"):
        check_kind(tmp_path / "big.onnx")


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    """Its signature, operators and sizes."""
    facts = read(save(scaled(), tmp_path / "m.onnx"))
    assert [(port.name, port.datatype, port.sizes) for port in facts.inputs] == [("x", "FP32", (-1, 4))]
    assert (facts.nodes, facts.operators, facts.parameters, facts.external) == (1, {"Mul": 1}, 4, ())


@given(st.integers(0, 10_000))
def test_a_truncated_file_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Wherever it breaks off, it is not taken for a smaller model."""
    whole = scaled(np.ones((1, 200), dtype=np.float32)).SerializeToString()
    path = tmp_path_factory.mktemp("cut") / "m.onnx"
    path.write_bytes(whole[: cut % len(whole)])
    with pytest.raises(RefusedError):
        look(path)


@given(st.binary(min_size=1, max_size=300))
def test_noise_is_refused(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    """Random bytes raise no other error than the refusal."""
    path = tmp_path_factory.mktemp("noise") / "m.onnx"
    path.write_bytes(noise)
    with pytest.raises(RefusedError):
        look(path)


@given(st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 255)), min_size=1, max_size=20))
def test_damage_raises_nothing_else(tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]) -> None:
    """Bytes turned around anywhere: the file is read or refused, and nothing else happens."""
    raw = bytearray(scaled().SerializeToString())
    for at, byte in changes:
        raw[at % len(raw)] = byte
    path = tmp_path_factory.mktemp("damage") / "m.onnx"
    path.write_bytes(bytes(raw))
    with contextlib.suppress(RefusedError):
        read(path)


@pytest.mark.parametrize(
    ("brought", "said"),
    [
        (node("PyOp", "ai.onnx.contrib"), "needs a library of its own"),
        (node("Anything", "my.company"), "domain my.company"),
        (node("PythonOp", "com.microsoft"), "runs Python"),
        (node("EPContext", "com.microsoft"), "loads a compiled file"),
        (node("ATen", "org.pytorch.aten"), "needs a library"),
        (model([]), "lacks nodes"),
        (model([helper.make_node("Identity", ["x"], ["y"])], ir_version=0), "lacks ir_version"),
        (model([helper.make_node("Identity", ["x"], ["y"])], inputs=[]), "no input"),
        (model([helper.make_node("Identity", ["x"], ["y"])], outputs=[]), "no output"),
        (
            model([helper.make_node("Identity", ["x"], ["y"])], inputs=[value("x", TensorProto.COMPLEX64, [1])]),
            "COMPLEX64, which the protocol cannot carry",
        ),
        (
            model([helper.make_node("Identity", ["a b"], ["y"])], inputs=[value("a b", TensorProto.FLOAT, [1])]),
            "rename it",
        ),
        (
            model([helper.make_node("Identity", ["x"], ["y"])], inputs=[value("x", TensorProto.FLOAT, [0, 4])]),
            "a size of 0",
        ),
    ],
)
def test_what_must_not_or_cannot_be_served_is_refused(tmp_path: Path, brought: Any, said: str) -> None:
    """The operator, domain or tensor at fault is named."""
    with pytest.raises(RefusedError, match=said):
        read(save(brought, tmp_path / "m.onnx"))


def test_an_input_without_rank_is_refused(tmp_path: Path) -> None:
    """The serving program could not tell what to take."""
    brought = scaled()
    brought.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(RefusedError, match="declares no rank"):
        read(save(brought, tmp_path / "m.onnx"))


def test_weights_must_be_whole(tmp_path: Path) -> None:
    """A tensor with fewer bytes than its shape needs, or a negative size, is refused."""
    short = scaled()
    short.graph.initializer[0].dims[0] = 5
    with pytest.raises(RefusedError, match="holds 16 bytes where its shape needs 20"):
        read(save(short, tmp_path / "m.onnx"))
    short.graph.initializer[0].dims[0] = -1
    with pytest.raises(RefusedError, match="negative size"):
        read(save(short, tmp_path / "m.onnx"))


def test_external_data_beside_the_file_is_taken(tmp_path: Path) -> None:
    """It is named, and part of what is inspected."""
    assert read(external(tmp_path, "weights.bin")).external == ("weights.bin",)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("../weights.bin", "out of its folder"),
        ("/etc/passwd", "out of its folder"),
        ("a/../../x", "out of its folder"),
        ("..\\weights.bin", "out of its folder"),
        ("", "out of its folder"),
        ("none.bin", "is missing"),
        ("we ights.bin", "rename it"),
    ],
)
def test_external_data_stays_in_its_folder(tmp_path: Path, location: str, said: str) -> None:
    """A path that leads out, or to nothing, is refused before anything is opened."""
    with pytest.raises(RefusedError, match=said):
        read(external(tmp_path / "inner", location))


@pytest.mark.parametrize("location", ["model.py", "sub/Model.PY", "manifest.json", "example.json", "model.onnx"])
def test_external_data_is_no_code_and_no_document(tmp_path: Path, location: str) -> None:
    """An artifact's model.py is run, and its manifest is believed: weights of that name would become either."""
    with pytest.raises(RefusedError, match="name of code"):
        read(external(tmp_path, location))


def test_external_data_in_a_sparse_attribute_or_a_default_is_seen(tmp_path: Path) -> None:
    """Wherever a tensor may hide: a node's sparse attribute, and a function's default."""
    far = TensorProto(name="w", dims=[4], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    far.external_data.add(key="location", value="../../etc/shadow")
    sparse = helper.make_node("Constant", [], ["c"])
    sparse.attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR).sparse_tensor.values.CopyFrom(far)
    with pytest.raises(RefusedError, match="out of its folder"):
        read(save(model([sparse, helper.make_node("Add", ["x", "c"], ["y"])]), tmp_path / "m.onnx"))
    own = node("Twice", "my.own")
    function = helper.make_function(
        "my.own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    function.attribute_proto.add(name="w", type=AttributeProto.TENSOR).t.CopyFrom(far)
    own.functions.append(function)
    with pytest.raises(RefusedError, match="out of its folder"):
        read(save(own, tmp_path / "f.onnx"))


@pytest.mark.parametrize("field", ["input", "operator", "opset", "producer", "location"])
def test_text_that_is_not_utf_8_is_told_plainly(tmp_path: Path, field: str) -> None:
    """Protobuf gives bytes for it, which are neither a name nor a reason to fall over."""
    brought = scaled()
    if field == "input":
        brought.graph.input[0].name = "qqqq"
    elif field == "operator":
        brought.graph.node[0].op_type = "qqqq"
    elif field == "opset":
        brought.opset_import.add(domain="qqqq", version=1)
    elif field == "producer":
        brought.producer_name = "qqqq"
    else:
        brought.graph.initializer[0].data_location = TensorProto.EXTERNAL
        brought.graph.initializer[0].external_data.add(key="location", value="qqqq")
    path = tmp_path / "m.onnx"
    path.write_bytes(brought.SerializeToString().replace(b"qqqq", b"\xff\xfeqq"))
    if field in {"input", "location"}:
        with pytest.raises(RefusedError, match="rename it"):
            read(path)
    else:
        read(path)


@pytest.mark.parametrize(
    "tensor",
    [
        TensorProto(name="s", dims=[1 << 62] * 1000, data_type=TensorProto.STRING),
        TensorProto(name="s", dims=[1 << 40], data_type=TensorProto.FLOAT, float_data=[1.0]),
    ],
)
def test_values_must_be_as_many_as_the_shape_says(tmp_path: Path, tensor: Any) -> None:
    """Also where they are not stored as bytes; a number of elements with thousands of digits is never written out."""
    brought = scaled()
    brought.graph.initializer.append(tensor)
    with pytest.raises(RefusedError, match="not as many as its shape says"):
        read(save(brought, tmp_path / "m.onnx"))


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    """The path looks innocent, and the file is elsewhere."""
    path = external(tmp_path / "inner", "link.bin")
    (tmp_path / "secret.bin").write_bytes(b"\0" * 16)
    (tmp_path / "inner" / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(RefusedError, match="is a link out of its folder"):
        read(path)


@pytest.mark.parametrize("entries", [{"length": "10"}, {"offset": "8"}, {"offset": "-1"}, {"length": "much"}])
def test_external_data_must_be_long_enough(tmp_path: Path, entries: dict[str, str]) -> None:
    """A file that ends before the tensor does is truncated."""
    with pytest.raises(RefusedError, match="too short"):
        read(external(tmp_path, "weights.bin", content=b"\0" * 15, **entries))


def test_external_data_in_a_subgraph_is_seen(tmp_path: Path) -> None:
    """What hides in a branch of an If is checked as anything else."""
    hidden = numpy_helper.from_array(np.ones(4, dtype=np.float32), "w")
    hidden.ClearField("raw_data")
    hidden.data_location = TensorProto.EXTERNAL
    hidden.external_data.add(key="location", value="../../etc/shadow")
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])], "b", [], [value("z", TensorProto.FLOAT, [4])], [hidden]
    )
    always = numpy_helper.from_array(np.array([True]), "c")
    brought = model(
        [helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)], initializers=[always]
    )
    with pytest.raises(RefusedError, match="out of its folder"):
        read(save(brought, tmp_path / "m.onnx"))


def test_deep_nesting_is_bounded(tmp_path: Path) -> None:
    """Graphs inside graphs end somewhere."""
    branch = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "leaf", [], [])
    for _ in range(GRAPH_DEPTH_MAX + 2):
        branch = helper.make_graph([helper.make_node("If", ["x"], ["z"], then_branch=branch)], "level", [], [])
    with pytest.raises(RefusedError):
        read(save(model([helper.make_node("If", ["x"], ["y"], then_branch=branch)]), tmp_path / "m.onnx"))


def test_old_exporters_and_model_functions_are_no_obstacle(tmp_path: Path) -> None:
    """Initialisers among the inputs are not asked of callers; functions of the model's own are its own."""
    listed = scaled()
    listed.graph.input.append(value("w", TensorProto.FLOAT, [4]))
    facts = read(save(listed, tmp_path / "m.onnx"))
    assert [port.name for port in facts.inputs] == ["x"]
    assert "initialisers are listed as inputs" in facts.notes[0]
    own = node("Twice", "my.own")
    function = helper.make_function(
        "my.own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 20)]
    )
    own.functions.append(function)
    assert read(save(own, tmp_path / "f.onnx")).operators == {"Add": 1, "my.own::Twice": 1}
