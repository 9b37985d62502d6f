"""What layers are made of, decided without a download, and the arithmetic of capacity."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from headrace.declaration.files import read_declarations
from infra_cdk.app import ROOT
from infra_cdk.bytecode import compile_tree
from infra_cdk.capacity import has_local_storage, plan_fleet
from infra_cdk.layers import ONNX_LEFT_OUT
from infra_cdk.stages import FunctionScale, stage_named
from infra_cdk.wheels import BOTOCORE_SERVICES, Wheels, pins_for, trim

PINS = """\
numpy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:aa \\
    --hash=sha256:ab
    # via onnxruntime
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:ba
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:ca
HF_Hub==2.4.0 \\
    --hash=sha256:da
plain==1.0 \\
    --hash=sha256:ea
"""


def test_pins_are_chosen_for_lambdas_python_and_not_for_ours(tmp_path: Path) -> None:
    """Markers are judged for 3.13 on Linux, what is left out goes, and every hash stays."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(PINS, encoding="utf-8")
    assert pins_for(Wheels(requirements, frozenset({"hf-hub"}))).splitlines() == [
        "numpy==2.5.5 --hash=sha256:ba",
        "plain==1.0 --hash=sha256:ea",
    ]


def test_a_kept_bundle_is_taken_only_for_the_same_ingredients(tmp_path: Path) -> None:
    """Other pins, another selection, another machine or another compiler give another digest."""
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(PINS, encoding="utf-8")
    wheels = Wheels(requirements)
    digests = {
        wheels.digest(compiled_with="3.13.0"),
        wheels.digest(compiled_with="3.13.1"),
        Wheels(requirements, frozenset({"plain"})).digest(compiled_with="3.13.0"),
        Wheels(requirements, machine="x86_64").digest(compiled_with="3.13.0"),
    }
    requirements.write_text(PINS.replace("plain==1.0", "plain==1.1"), encoding="utf-8")
    assert len(digests | {wheels.digest(compiled_with="3.13.0")}) == 5


def test_the_onnx_layer_has_what_the_stand_in_imports_and_not_the_hub() -> None:
    """Tokenizers comes without huggingface-hub; the rules keep requests, which vaderSentiment imports."""
    pins = pins_for(Wheels(ROOT / "layers" / "onnx" / "requirements.txt", ONNX_LEFT_OUT))
    names = {line.partition("==")[0] for line in pins.splitlines()}
    assert {"onnxruntime", "numpy", "tokenizers", "pillow", "orjson", "vadersentiment", "requests"} <= names
    assert not {"huggingface-hub", "httpx2", "protobuf", "tqdm"} & names


def test_every_client_that_is_made_has_its_service_in_the_bundle() -> None:
    """Whatever `client(...)` names in functions and layers is among the services that the trimming keeps."""
    named = {
        call.args[0].value
        for folder in ("functions", "layers/core/python/headrace_aws")
        for source in (ROOT / folder).rglob("*.py")
        for call in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", getattr(call.func, "attr", "")) == "client"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    assert {"s3", "sqs", "dynamodb", "stepfunctions", "sagemaker"} <= named
    assert named <= BOTOCORE_SERVICES


def test_the_parquet_layer_is_one_package() -> None:
    """Pyarrow needs nothing else; numpy, which it can do without, would be 60 MB more."""
    pins = pins_for(Wheels(ROOT / "layers" / "parquet" / "requirements.txt"))
    assert [line.partition("==")[0] for line in pins.splitlines()] == ["pyarrow"]


def test_parquet_is_trimmed_to_what_reads_it(tmp_path: Path) -> None:
    """Headers, sources, other stores and doubled libraries go; what the reader is linked against stays."""
    package = tmp_path / "pyarrow"
    kept = (
        *("lib.cpython-313-aarch64-linux-gnu.so", "_parquet.cpython-313-aarch64-linux-gnu.so", "libarrow.so.2600"),
        *("libarrow_python.so.2600", "libarrow_substrait.so.2600", "libparquet.so.2600", "parquet/core.py"),
    )
    gone = (
        *("include/arrow/api.h", "src/arrow/python/api.h", "tests/test_fs.py", "lib.pyx", "table.pxi", "lib.pxd"),
        *("libarrow_flight.so.2600", "libarrow_s3.so.2600", "libarrow_python.so", "libarrow_python.so.2600.1.0"),
        *("_s3fs.cpython-313-aarch64-linux-gnu.so", "_flight.cpython-313-aarch64-linux-gnu.so"),
    )
    for name in (*kept, *gone):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_bytes(b"")
    trim(tmp_path)
    left = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert left == set(kept)


def test_nothing_shipped_is_the_heavy_sdk() -> None:
    """No layer pins `sagemaker`: 700 MB and seconds of import."""
    for layer in ("vendor", "onnx", "parquet"):
        pins = pins_for(Wheels(ROOT / "layers" / layer / "requirements.txt"))
        assert not [line for line in pins.splitlines() if line.startswith("sagemaker")]


def test_bytecode_ignores_the_times_that_a_zip_sets(tmp_path: Path) -> None:
    """The flags in each .pyc say unchecked hash (PEP 552), and its path is the one it will have on Lambda."""
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "module.py").write_text("VALUE = {1, 2}\n", encoding="utf-8")
    compile_tree(tmp_path, compiler=Path(sys.executable))
    (compiled,) = tmp_path.rglob("*.pyc")
    content = compiled.read_bytes()
    assert int.from_bytes(content[4:8], "little") == 0b01
    assert str(tmp_path).encode() not in content


@pytest.mark.parametrize(
    ("kind", "local"),
    [
        *(
            (kind, True)
            for kind in ("ml.g4dn.xlarge", "ml.g5.2xlarge", "ml.g6e.xlarge", "ml.p5.48xlarge", "ml.m5d.large")
        ),
        *(
            (kind, False)
            for kind in ("ml.m5.xlarge", "ml.c7g.large", "ml.p3.2xlarge", "ml.inf2.xlarge", "ml.r6i.large")
        ),
    ],
)
def test_local_storage_is_known_by_family(kind: str, *, local: bool) -> None:
    """Families with NVMe storage refuse a volume key; those without take it."""
    assert has_local_storage(kind) is local


def test_one_image_cannot_serve_two_architectures(declared: Path, tmp_path: Path) -> None:
    """A pool of Graviton and x86 instances is refused before anything is deployed."""
    (tmp_path / "detection").mkdir()
    text = (declared / "detection" / "endpoint.yaml").read_text(encoding="utf-8").replace("ml.c5.", "ml.c7g.")
    (tmp_path / "detection" / "endpoint.yaml").write_text(text, encoding="utf-8")
    (declaration,) = read_declarations(tmp_path)
    with pytest.raises(ValueError, match="arm64 and x86_64"):
        plan_fleet(declaration, max_instances=None)


def test_a_stage_that_does_not_exist_is_refused() -> None:
    """A typing mistake names the stages there are."""
    with pytest.raises(ValueError, match=r"dev\|prod"):
        stage_named("production")


def test_a_function_cannot_have_both_kinds_of_warm_start() -> None:
    """SnapStart and provisioned concurrency exclude each other on Lambda."""
    with pytest.raises(ValueError, match="not both"):
        FunctionScale(memory_mb=128, timeout_s=1, snap_start=True, provisioned_concurrency=1)
