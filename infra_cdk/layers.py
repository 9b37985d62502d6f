"""The Lambda layers: third-party code (`vendor`, `onnx`, `parquet`), the project's own (`core`), the compiled catalog.

They are folders until CDK zips them at deployment, and no Docker takes part: CDK is given a local bundler, and with the
context `aws:cdk:bundling-stacks: []` it calls none, which is how the tests synthesise in a second.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsii
from aws_cdk import (
    AssetHashType,
    BundlingOptions,
    CopyOptions,
    DockerImage,
    FileSystem,
    IgnoreMode,
    ILocalBundling,
    RemovalPolicy,
)
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra_cdk.bytecode import compile_tree
from infra_cdk.wheels import LAMBDA_MACHINE, RECIPE, Wheels, installed

RUNTIME = lambda_.Runtime.PYTHON_3_13
ARCHITECTURE = lambda_.Architecture.ARM_64
CATALOG_PATH = "/opt/headrace/catalog.json"
"""Layers are unpacked into /opt; the functions read the catalog there."""

CORE_EXCLUDE = ("*", "!python/headrace", "!python/headrace_aws", "**/__pycache__")
_NOT_USED = "local bundling only"

_HUB = (
    *("huggingface-hub", "anyio", "click", "colorama", "filelock", "fsspec", "h11", "hf-xet", "httpcore2", "httpx2"),
    *("httpx2-jsfetch", "pyyaml", "tqdm", "truststore"),
)
"""tokenizers needs it only to download vocabularies by name; ours come out of the artifact."""
_CONVERTERS = ("packaging", "protobuf", "flatbuffers")
"""onnxruntime needs these for its converters and quantisers only."""
ONNX_LEFT_OUT = frozenset({*_HUB, *_CONVERTERS, "typing-extensions"})
"""The last is in the vendor layer already."""


@dataclass(frozen=True, slots=True)
class Bundling:
    """Where bundles are kept between runs, the Python that writes their bytecode (None: source only), and for what."""

    kept: Path
    compiler: Path | None
    compiled_with: str
    machine: str = LAMBDA_MACHINE


@jsii.implements(ILocalBundling)
class CopiedBundle:
    """What CDK calls instead of Docker: copies the selected files of `source` and compiles them."""

    def __init__(self, source: Path, *, exclude: tuple[str, ...], bundling: Bundling) -> None:
        self._source = source
        self._exclude = exclude
        self._bundling = bundling

    def try_bundle(self, output_dir: str, *_options: Any, **_named: Any) -> bool:
        """Fill `output_dir`; CDK's own filter does the selecting, so the zip and its hash cannot disagree."""
        FileSystem.copy_directory(
            str(self._source), output_dir, CopyOptions(exclude=list(self._exclude), ignore_mode=IgnoreMode.DOCKER)
        )
        if self._bundling.compiler is not None:
            compile_tree(Path(output_dir), compiler=self._bundling.compiler)
        return True


@jsii.implements(ILocalBundling)
class WheelsBundle:
    """The same for third-party packages: from the kept folder, which is made first if there is none."""

    def __init__(self, wheels: Wheels, *, bundling: Bundling) -> None:
        self._wheels = wheels
        self._bundling = bundling

    def try_bundle(self, output_dir: str, *_options: Any, **_named: Any) -> bool:
        """Fill `output_dir` with `python/...`."""
        bundling = self._bundling
        folder = installed(
            self._wheels, kept=bundling.kept, compiler=bundling.compiler, compiled_with=bundling.compiled_with
        )
        shutil.copytree(folder, output_dir, dirs_exist_ok=True)
        return True


def bundled(source: Path, *, exclude: tuple[str, ...], local: ILocalBundling, bundling: Bundling) -> lambda_.AssetCode:
    """An asset hashed by its source and made by `local`."""
    return lambda_.Code.from_asset(
        str(source),
        exclude=list(exclude),
        ignore_mode=IgnoreMode.DOCKER,
        asset_hash_type=AssetHashType.SOURCE,
        bundling=BundlingOptions(
            image=DockerImage.from_registry(_NOT_USED),
            local=local,
            # Part of the asset's hash: another compiler or another trimming is another asset.
            environment={"COMPILED_WITH": bundling.compiled_with, "MACHINE": bundling.machine, "RECIPE": RECIPE},
        ),
    )


class Layers(Construct):
    """All layers of a stage, by the part each plays."""

    def __init__(self, scope: Construct, id_: str, *, root: Path, catalog: str, bundling: Bundling) -> None:
        super().__init__(scope, id_)
        self.vendor = self._wheels("vendor", root=root, leave_out=frozenset(), bundling=bundling)
        self.onnx = self._wheels("onnx", root=root, leave_out=ONNX_LEFT_OUT, bundling=bundling)
        self.parquet = self._wheels("parquet", root=root, leave_out=frozenset(), bundling=bundling)
        core = root / "layers" / "core"
        copied = CopiedBundle(core, exclude=CORE_EXCLUDE, bundling=bundling)
        self.core = self._layer("core", bundled(core, exclude=CORE_EXCLUDE, local=copied, bundling=bundling))
        # A layer of its own: a changed declaration must not publish the code again.
        folder = bundling.kept / "catalog" / self.node.addr
        (folder / "headrace").mkdir(parents=True, exist_ok=True)
        (folder / "headrace" / "catalog.json").write_text(catalog, encoding="utf-8")
        self.catalog = self._layer("catalog", lambda_.Code.from_asset(str(folder)))

    def _wheels(self, name: str, *, root: Path, leave_out: frozenset[str], bundling: Bundling) -> lambda_.LayerVersion:
        source = root / "layers" / name
        wheels = Wheels(source / "requirements.txt", leave_out, bundling.machine)
        local = WheelsBundle(wheels, bundling=bundling)
        return self._layer(name, bundled(source, exclude=("*", "!requirements.txt"), local=local, bundling=bundling))

    def _layer(self, name: str, code: lambda_.Code) -> lambda_.LayerVersion:
        return lambda_.LayerVersion(
            self,
            name.capitalize(),
            code=code,
            compatible_runtimes=[RUNTIME],
            compatible_architectures=[ARCHITECTURE],
            description=f"Headrace: {name}",
            # Published function versions name their layers: deleting one would break a rollback to them.
            removal_policy=RemovalPolicy.RETAIN,
        )
