"""The composition root: reads the context and the declarations, builds the two stacks, has them reviewed.

Run by the CDK command line through `cdk.json`, and by `infra_cdk.synth` without it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# jsii warns at every start that Node 20 is past its end; it works, and `infra_cdk.synth` refuses what does not.
# The value lists major versions. It must be set before aws_cdk is imported.
os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "18,20")
os.environ.setdefault("JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION", "1")

from aws_cdk import App, Environment, Tags

from headrace.declaration.files import read_declarations, read_plans
from infra_cdk.bytecode import RUNTIME, find_compiler
from infra_cdk.endpoints_stack import EndpointsStack
from infra_cdk.layers import Bundling
from infra_cdk.nag import review
from infra_cdk.platform_stack import PlatformStack
from infra_cdk.stages import stage_named

ROOT = Path(__file__).resolve().parent.parent
SOURCE_ONLY = "source only"


@dataclass(frozen=True, slots=True)
class Built:
    """An app with its stacks, before synth."""

    app: App
    platform: PlatformStack
    endpoints: EndpointsStack


def build(
    *, root: Path, endpoints: Path, bundling: Bundling, context: dict[str, Any], outdir: Path | None, checked: bool
) -> Built:
    """The app of the stage that `context` (or the CDK command line) names.

    Args:
        root: the repository.
        endpoints: the folder of declarations, in it or elsewhere.
        bundling: where bundles are kept, and the Python that compiles them.
        context: CDK's context; the command line's wins.
        outdir: where the cloud assembly is written; None for CDK's own choice.
        checked: whether the security review runs at synth.
    """
    app = App(context={**_declared_context(root), **context}, outdir=None if outdir is None else str(outdir))
    stage = stage_named(app.node.get_context("stage"))
    declarations, plans = read_declarations(endpoints), read_plans(endpoints)
    account, region = app.node.try_get_context("account"), app.node.try_get_context("region")
    # Without both the templates fit any account: nothing here looks anything up.
    env = Environment(account=account, region=region) if account and region else None
    platform = PlatformStack(
        app, stage=stage, root=root, declarations=declarations, plans=plans, bundling=bundling, env=env
    )
    models = EndpointsStack(
        app,
        stage=stage,
        root=root,
        declarations=declarations,
        artifacts=platform.artifact_store,
        flows=platform.flow_stores,
        image_uri=app.node.try_get_context("serving_image_uri"),
        env=env,
        variants_change=_names(app.node.try_get_context("variants_change")),
    )
    # Artifacts are uploaded between the two, so the order is said and not only implied by the imports.
    models.add_stack_dependency(platform)
    Tags.of(app).add("headrace:stage", stage.name)
    if checked:
        review(app)
    return Built(app, platform, models)


def bundling_here(root: Path) -> Bundling:
    """Bundles kept in the repository's `.headrace/`, compiled if this machine has the runtime's Python."""
    found = find_compiler(home=Path.home())
    kept = root / ".headrace" / "bundles"
    if found is None:
        sys.stderr.write(
            f"warning: no Python {RUNTIME} found, so the functions ship source only and every cold start compiles it"
            f" again (3 to 4 times the import time). Install Python {RUNTIME} and run this again.\n"
        )
        return Bundling(kept, None, SOURCE_ONLY)
    compiler, version = found
    return Bundling(kept, compiler, version)


def _names(said: str | None) -> frozenset[str]:
    """Names behind commas, as the command line has them."""
    return frozenset(name for name in (said or "").split(",") if name)


def _declared_context(root: Path) -> dict[str, Any]:
    """The context in `cdk.json`, which only the CDK command line reads by itself."""
    context: dict[str, Any] = json.loads((root / "cdk.json").read_text(encoding="utf-8"))["context"]
    return context


def main() -> None:
    """Synthesise the repository's own app to where the CDK command line says."""
    outdir = os.environ.get("CDK_OUTDIR")
    built = build(
        root=ROOT,
        endpoints=ROOT / "endpoints",
        bundling=bundling_here(ROOT),
        context={},
        outdir=None if outdir is None else Path(outdir),
        checked=True,
    )
    built.app.synth()


if __name__ == "__main__":
    main()
