"""`python -m infra_cdk.push --stage NAME`: put the built artifacts where the deployed stage looks for them, by digest.

Between the two stacks of a stage: the platform makes the bucket, the models of the endpoints need what is in it. Only
what the declarations pin is pushed, an artifact that differs from its pin is refused, and what is there already stays.

Then it looks which endpoints will have other variants than they have now, for their update must be deployed as such.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from endpoints.building import artifact_digest, artifact_directory, pack
from headrace.catalog import ASYNC_SUFFIX
from headrace.declaration.files import read_declarations
from headrace.declaration.schema import EndpointDeclaration
from headrace.errors import InvalidDeclarations
from infra_cdk.capacity import SHARED_VARIANT

ROOT = Path(__file__).resolve().parent.parent


_ABSENT = frozenset({"ValidationException", "ResourceNotFound", "ResourceNotFoundException"})
"""SageMaker's answers for a name that it does not know."""


class PushError(Exception):
    """Nothing was pushed; the message lists every reason and what to do."""


def pinned_artifacts(endpoints: Path, artifacts: Path) -> dict[str, Path]:
    """The folder of every artifact that the declarations pin, by S3 key.

    Raises:
        PushError: an artifact is missing or is not the one declared.
        InvalidDeclarations: a declaration is wrong.
    """
    found: dict[str, Path] = {}
    problems = []
    for declaration in read_declarations(endpoints):
        for name, version in declaration.versions.items():
            folder = artifact_directory(artifacts, declaration.name, name)
            if not (folder / "manifest.json").is_file():
                problems.append(f"{declaration.name}/{name}: no artifact in {folder}: run `make models`")
                continue
            digest = artifact_digest(folder)
            if digest != version.artifact:
                problems.append(
                    f"{declaration.name}/{name}: built {digest}, declared {version.artifact}: "
                    "declare what you mean to deploy, or build it again"
                )
            found[f"{digest.removeprefix('sha256:')}/model.tar.gz"] = folder
    if problems:
        raise PushError("\n".join(problems))
    return found


def push(found: dict[str, Path], *, bucket: str, s3: Any) -> list[str]:
    """Upload what the bucket lacks; returns the keys that were written."""
    written = []
    for key, folder in found.items():
        if "Contents" in s3.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1):
            continue
        with tempfile.TemporaryDirectory() as scratch:
            s3.upload_file(str(pack(folder, Path(scratch) / "model.tar.gz")), bucket, key)
        written.append(key)
    return written


def variants_change(declarations: list[EndpointDeclaration], *, prefix: str, sagemaker: Any) -> dict[str, str]:
    """The endpoints whose set of variants is another than what runs now: name to what joins and leaves.

    Endpoints that are not there yet have nothing to change, and those whose versions share instances keep the one
    variant that they have.
    """
    found: dict[str, str] = {}
    for declaration in declarations:
        hosted = {name for name, version in declaration.versions.items() if version.hosting == "endpoint"}
        wanted = {"": hosted if declaration.components is None else {SHARED_VARIANT}}
        if declaration.async_inference is not None:
            wanted[ASYNC_SUFFIX] = {declaration.async_version}
        for suffix, names in wanted.items():
            running = _variants(f"{prefix}-{declaration.name}{suffix}", sagemaker)
            if running is None or running == names:
                continue
            joins, leaves = ", ".join(sorted(names - running)), ", ".join(sorted(running - names))
            found.setdefault(declaration.name, f"joining: {joins or 'none'}; leaving: {leaves or 'none'}")
    return found


def _variants(endpoint: str, sagemaker: Any) -> set[str] | None:
    """The variants that an endpoint has, or None where there is no such endpoint."""
    from botocore.exceptions import ClientError  # noqa: PLC0415 - only this command talks to an account

    try:
        described = sagemaker.describe_endpoint(EndpointName=endpoint)
    except ClientError as error:
        if error.response["Error"]["Code"] in _ABSENT:
            return None
        raise
    return {each["VariantName"] for each in described["ProductionVariants"]}


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when everything pinned is in the bucket, 1 with the reasons on standard error."""
    parser = argparse.ArgumentParser(prog="python -m infra_cdk.push", description=__doc__)
    parser.add_argument("--stage", default="dev")
    parser.add_argument("--endpoints", type=Path, default=ROOT / "endpoints")
    parser.add_argument("--artifacts", type=Path, default=ROOT / ".headrace" / "artifacts")
    options = parser.parse_args(arguments)
    from boto3.session import Session  # noqa: PLC0415 - only this command talks to an account
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        found = pinned_artifacts(options.endpoints, options.artifacts)
        session = Session()
        stack = f"headrace-{options.stage}-platform"
        described = session.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
        written = push(found, bucket=outputs["ArtifactsBucket"], s3=session.client("s3"))
        changed = variants_change(
            read_declarations(options.endpoints),
            prefix=f"headrace-{options.stage}",
            sagemaker=session.client("sagemaker"),
        )
    except (PushError, InvalidDeclarations, BotoCoreError, ClientError, KeyError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    for key in written:
        print(f"pushed {key}")  # noqa: T201 - this is the command's answer
    print(f"{len(found)} artifacts are in place")  # noqa: T201
    for name, says in changed.items():
        print(f"{name} gets other variants ({says})")  # noqa: T201
    if changed:
        print(f"deploy headrace-{options.stage}-endpoints with -c variants_change={','.join(changed)}")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
