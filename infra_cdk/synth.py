"""`make synth`: write the CloudFormation of a stage, with no Docker, no account and no CDK command line.

Needs Node, in which CDK's own code runs. Prints where the templates are, what each asset weighs and what a deployment
would keep running.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from headrace.errors import InvalidDeclarations
from infra_cdk.stages import StageSettings, stage_named

NODE_MAJOR_MIN = 20
UNZIPPED_MAX_MB = 250
"""A function with its layers, unzipped (AWS Lambda quotas)."""
_PROBE_TIMEOUT_S = 20
_MB = 1_000_000


def node_problem() -> str | None:
    """Why CDK could not run on this machine, or None when it can."""
    wanted = f"CDK runs in Node {NODE_MAJOR_MIN} or later; install it (nodejs.org, or your system's packages)"
    node = shutil.which("node")
    if node is None:
        return f"node is not on the PATH. {wanted}."
    done = subprocess.run(  # noqa: S603 - node from the PATH, asked for its version
        [node, "--version"], capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False
    )
    version = done.stdout.strip().removeprefix("v")
    if done.returncode or not version.partition(".")[0].isdigit():
        return f"{node} does not run. {wanted}."
    if int(version.partition(".")[0]) < NODE_MAJOR_MIN:
        return f"{node} is version {version}. {wanted}."
    return None


def folder_bytes(folder: Path) -> int:
    """The size of everything below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def function_sizes(outdir: Path) -> dict[str, int]:
    """Unzipped bytes of each function with its layers, read from the assembly in `outdir`."""
    sizes: dict[str, int] = {}
    for file in sorted(outdir.glob("*.template.json")):
        resources = json.loads(file.read_text(encoding="utf-8"))["Resources"]
        weights = {
            name: folder_bytes(outdir / resource["Metadata"]["aws:asset:path"])
            for name, resource in resources.items()
            if "aws:asset:path" in resource.get("Metadata", {})
        }
        for name, resource in resources.items():
            if resource["Type"] == "AWS::Lambda::Function":
                layers = [layer["Ref"] for layer in resource["Properties"].get("Layers", [])]
                sizes[resource["Properties"]["FunctionName"]] = weights[name] + sum(weights[layer] for layer in layers)
    return sizes


def warm_functions(stage: StageSettings) -> list[str]:
    """The functions of `stage` that are kept warm, one line each."""
    return [
        f"{stage.prefix}-{name}: {scale.provisioned_concurrency} x {scale.memory_mb} MB kept warm"
        for name, scale in stage.functions.items()
        if scale.provisioned_concurrency
    ]


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when the templates are written, 1 when something is wrong with them, 2 when Node is missing."""
    parser = argparse.ArgumentParser(prog="python -m infra_cdk.synth", description=__doc__)
    parser.add_argument("--stage", default=os.environ.get("STAGE", "dev"), help="dev or prod")
    parser.add_argument("--output", type=Path, default=Path("cdk.out"), help="where to write (default: cdk.out)")
    options = parser.parse_args(arguments)
    problem = node_problem()
    if problem is not None:
        sys.stderr.write(f"cannot synthesise: {problem}\n")
        return 2
    started = time.monotonic()
    # After the check: importing aws_cdk starts Node.
    from infra_cdk.app import ROOT, build, bundling_here  # noqa: PLC0415

    outdir: Path = options.output.resolve()
    sys.stdout.write(f"synthesising stage {options.stage} into {outdir}\n")
    try:
        built = build(
            root=ROOT,
            endpoints=ROOT / "endpoints",
            bundling=bundling_here(ROOT),
            context={"stage": options.stage},
            outdir=outdir,
            checked=True,
        )
    except (InvalidDeclarations, ValueError) as error:
        sys.stderr.write(f"cannot synthesise:\n{error}\n")
        return 1
    built.app.synth()
    sys.stdout.write(
        f"done in {time.monotonic() - started:.1f} s, reviewed by cdk-nag and our own rules\n\ntemplates\n"
    )
    for stack in (built.platform, built.endpoints):
        sys.stdout.write(f"  {outdir / stack.template_file}\n")
    sizes = function_sizes(outdir)
    sys.stdout.write(f"\nfunctions with their layers, unzipped (Lambda takes {UNZIPPED_MAX_MB} MB)\n")
    for name, size in sizes.items():
        sys.stdout.write(f"  {name}: {size / _MB:.1f} MB\n")
    sys.stdout.write("\nwhat runs whether or not anyone calls\n")
    for line in (*built.endpoints.costs, *warm_functions(stage_named(options.stage))):
        sys.stdout.write(f"  {line}\n")
    large = [name for name, size in sizes.items() if size > UNZIPPED_MAX_MB * _MB]
    if large:
        sys.stderr.write(f"too large for Lambda: {', '.join(large)}\n")
    return 1 if large else 0


if __name__ == "__main__":
    raise SystemExit(main())
