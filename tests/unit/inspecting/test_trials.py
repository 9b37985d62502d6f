"""Inspection from outside: real child processes load and run what was brought, and their end is survived."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from endpoints.inspecting import RefusedError, inspect
from endpoints.inspecting.declaring import mends, starting_declaration
from endpoints.inspecting.inspection import take
from endpoints.serving.artifact import open_artifact
from endpoints.serving.runner import Runner
from headrace.declaration.parse import parse_declaration
from tests.serving_models import value
from tests.unit.inspecting.brought import bomb, check, external, model, node, save, scaled


def windowed() -> bytes:
    """Takes 64 samples, in a file that leaves their number open."""
    shape = numpy_helper.from_array(np.array([-1, 8, 8], dtype=np.int64), "shape")
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("ReduceMax", ["r"], ["m"], axes=[1])]
    nodes.append(helper.make_node("ReduceMax", ["m"], ["y"], axes=[1], keepdims=0))
    return check(  # type: ignore[no-any-return]
        model(
            nodes,
            initializers=[shape],
            inputs=[value("x", TensorProto.FLOAT, ["rows", "samples"])],
            outputs=[value("y", TensorProto.FLOAT, ["rows", 1])],
            opsets=[helper.make_opsetid("", 13)],
            ir_version=8,
        )
    )


def mislabelled() -> bytes:
    """Says that it answers one label, and answers one a row, as a known converter has it."""
    return model(  # type: ignore[no-any-return]
        [helper.make_node("ArgMax", ["x"], ["y"], axis=1, keepdims=0)], outputs=[value("y", TensorProto.INT64, [1])]
    )


def test_a_sound_file_is_tried_out_and_declared(tmp_path: Path) -> None:
    """Its answers are seen, and the declaration written for it is a good one."""
    found = inspect(save(scaled(), tmp_path / "scale.onnx"))
    assert found.signature("outputs") == [("y", "FP32", (-1, 4))]
    assert not found.trial.needs_example
    assert found.notes == ()
    text = starting_declaration(found, name="scale", version="v1", digest=f"sha256:{'a' * 64}")
    declaration, problems = parse_declaration(text, source="endpoint.yaml")
    assert not problems
    assert declaration is not None
    assert declaration.task == "tensors"
    assert declaration.golden[0].request == "golden.json"


def test_an_artifact_with_external_data_and_example_can_be_served(tmp_path: Path) -> None:
    """What is taken is whole: the serving program's own engine loads it and warms it up."""
    take(
        external(tmp_path / "in", "weights.bin"),
        example=None,
        endpoint="e",
        version="v1",
        task="tensors",
        out=tmp_path / "a",
    )
    runner = Runner.load(open_artifact(tmp_path / "a"))
    assert runner.artifact.files.keys() == {"model.onnx", "weights.bin"}
    take(
        save(windowed(), tmp_path / "w.onnx"),
        example=None,
        endpoint="w",
        version="v1",
        task="tensors",
        out=tmp_path / "b",
    )
    runner = Runner.load(open_artifact(tmp_path / "b"))
    tensors, _ = runner.example()
    assert tensors["x"].shape == (1, 64)
    assert runner.synthetic(rows=3, seed=1)["x"].shape == (3, 64)


def test_code_that_calls_itself_weights_is_not_run(tmp_path: Path) -> None:
    """The serving program runs an artifact's model.py: nothing that a file names may become it."""
    path = external(tmp_path / "in", "model.py")
    sprung = tmp_path / "sprung"
    (tmp_path / "in" / "model.py").write_text(f"import pathlib\npathlib.Path({str(sprung)!r}).touch()\n" + "#" * 16)
    with pytest.raises(RefusedError, match="name of code"):
        inspect(path)
    assert not sprung.exists()


def test_external_data_lies_beside_the_file_and_not_beside_a_link_to_it(tmp_path: Path) -> None:
    """What is checked is what is taken."""
    link = tmp_path / "elsewhere" / "model.onnx"
    link.parent.mkdir()
    link.symlink_to(external(tmp_path / "in", "weights.bin"))
    (link.parent / "weights.bin").write_bytes(b"\0" * 16)
    take(link, example=None, endpoint="e", version="v1", task="tensors", out=tmp_path / "a")
    assert (tmp_path / "a" / "weights.bin").read_bytes() == (tmp_path / "in" / "weights.bin").read_bytes()


def pictures(size: int) -> bytes:
    """Takes one square picture of this many pixels a side."""
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("ReduceMax", ["f"], ["y"], axes=[1])]
    return model(  # type: ignore[no-any-return]
        nodes,
        inputs=[value("x", TensorProto.FLOAT, [1, 3, size, size])],
        outputs=[value("y", TensorProto.FLOAT, [1, 1])],
        opsets=[helper.make_opsetid("", 17)],
    )


def test_a_request_too_large_for_an_endpoint_is_not_declared(tmp_path: Path) -> None:
    """One that nobody could send is neither made the golden request nor, where it is huge, made up at all."""
    assert inspect(save(pictures(416), tmp_path / "fits.onnx")).trial.example is not None
    large = save(pictures(1024), tmp_path / "large.onnx")
    assert "more than the 6291456 bytes" in inspect(large).notes[-1]
    with pytest.raises(RefusedError, match="more than the 6291456 bytes"):
        take(large, example=None, endpoint="e", version="v1", task="tensors", out=tmp_path / "a", must_fit=True)
    assert not (tmp_path / "a").exists()
    with pytest.raises(RefusedError, match="bytes in one row"):
        inspect(save(pictures(1 << 31), tmp_path / "huge.onnx"))


def test_a_file_that_says_the_wrong_shape_is_mended(tmp_path: Path) -> None:
    """What it answers counts, and the note says what to declare."""
    found = inspect(save(mislabelled(), tmp_path / "m.onnx"))
    assert found.signature("outputs") == [("y", "INT64", (-1,))]
    assert found.notes == ("output y: the file says [1] and answers otherwise: declare [-1]",)


def test_wrong_declared_tensors_get_their_mends(tmp_path: Path) -> None:
    """Each line says what to write; what may differ is let pass."""
    found = inspect(save(scaled(), tmp_path / "m.onnx"))
    good = [("x", "FP32", (-1, 4))], [("y", "FP32", (-1, 4))]
    assert mends(found, inputs=good[0], outputs=good[1]) == []
    assert mends(found, inputs=[("x", "FP32", (1, 4))], outputs=[("y", "FP32", (-1, -1))]) == []
    assert mends(found, inputs=[("x", "FP64", (-1, 5))], outputs=[("z", "FP32", (-1, 4))]) == [
        "inputs[0] (x): the model has FP32, declared is FP64: write datatype: FP32",
        "inputs[0] (x): the model has [-1, 4], declared is [-1, 5]: write shape: [-1, 4]",
        "outputs[0] (z): the model has no such tensor: remove it; it has y",
    ]
    assert mends(found, inputs=[], outputs=[]) == [
        'inputs: the model needs x too: add {name: "x", datatype: FP32, shape: [-1, 4]}'
    ]


@pytest.mark.parametrize(
    ("brought", "said"),
    [
        (node("NoSuchOperator"), "does not have this operator"),
        (model([helper.make_node("Identity", ["x"], ["y"])], opsets=[helper.make_opsetid("", 99)]), "export it again"),
        (model([helper.make_node("Identity", ["x"], ["y"])], ir_version=99), "export it again"),
        (bomb(), "more memory"),
    ],
    ids=["operator", "opset", "ir", "bomb"],
)
def test_what_cannot_run_is_refused_by_its_trial(tmp_path: Path, brought: object, said: str) -> None:
    """The child finds out, within its bounds, and this process goes on."""
    with pytest.raises(RefusedError, match=said):
        inspect(save(brought, tmp_path / "m.onnx"))


def test_an_example_must_be_a_request_that_it_takes(tmp_path: Path) -> None:
    """What is no request is refused by its form, what the model does not take by its trial."""
    path = save(scaled(), tmp_path / "m.onnx")
    example = tmp_path / "example.json"
    for text in ("", "{", "[]", '{"inputs": 3}'):
        example.write_text(text)
        with pytest.raises(RefusedError, match="no inference request"):
            inspect(path, example=example)
    example.write_text('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1, 2, 3]}]}')
    with pytest.raises(RefusedError, match=r"shape: must be \[any, 4\]"):
        inspect(path, example=example)
    example.write_text('{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}')
    assert inspect(path, example=example).trial.answer == {"y": [1.0, 4.0, 9.0, 16.0]}
