"""register, approve, list, diff and inspect, from files to the account, and one clear line for every wrong input."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from endpoints.building.artifact import artifact_digest, artifact_directory
from headrace.registry.versions import object_key
from tests.integration.registry.conftest import BUCKET, Headrace, headrace_in
from tests.moto_process import client_of
from tests.unit.inspecting.brought import save, scaled

GOOD = np.arange(1, 5, dtype=np.float32)


@pytest.fixture(scope="module")
def brought(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with an endpoint that was brought: a model, its declaration, its golden request, its artifact."""
    home = tmp_path_factory.mktemp("brought")
    file = save(scaled(GOOD), home / "scale.onnx")
    written = headrace_in(home)("models", "inspect", file, "--write", home / "endpoints/scale/endpoint.yaml")
    assert written.exit_code == 0, written.output
    return home


@pytest.fixture
def folder(brought: Path, repository: Path) -> Path:
    """A copy of that endpoint beside the account."""
    shutil.copytree(brought, repository, dirs_exist_ok=True)
    return repository / "endpoints" / "scale"


def declare(folder: Path, before: str, after: str) -> None:
    """Changes the declaration."""
    file = folder / "endpoint.yaml"
    text = file.read_text(encoding="utf-8")
    assert before in text
    file.write_text(text.replace(before, after, 1), encoding="utf-8")


def refused(result: Any, said: str) -> None:
    """One line on stderr says it, and nothing is a traceback."""
    assert result.exit_code in {1, 2}, result.output
    last = result.stderr.strip().splitlines()[-1]
    assert said in last
    assert "Traceback" not in result.output


def test_from_a_file_to_an_approved_version(account: str, folder: Path, headrace: Headrace) -> None:
    """What was brought is served, asked, stored by its digest, registered as pending, and approved with a reason."""
    made = headrace("models", "register", folder, "--version", "v1", "--json")
    assert made.exit_code == 0, made.output
    told = json.loads(made.stdout)
    assert (told["state"], told["version"], told["golden"]) == ("PendingManualApproval", "v1", 1)
    assert 0 < told["latency_p50_ms"] <= told["latency_p99_ms"]
    s3 = client_of("s3", account)
    assert s3.head_object(Bucket=BUCKET, Key=object_key(told["digest"]))["ContentLength"] > 0
    record = json.loads(s3.get_object(Bucket=BUCKET, Key=told["record"])["Body"].read())
    assert record["contract"]["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4], "meaning": ""}]
    again = headrace("models", "register", folder, "--version", "v1")
    assert "already registered" in again.stdout
    approved = headrace("models", "approve", "scale", "v1", "--why", "as good as it gets")
    assert "scale v1 is Approved: as good as it gets" in approved.stdout
    assert "already Approved" in headrace("models", "approve", "scale", "v1", "--why", "again").stdout
    (listed,) = json.loads(headrace("models", "list", "--json").stdout)["data"]
    assert (listed["state"], listed["digest"]) == ("Approved", told["digest"])
    assert headrace("models", "list", "scale").stdout.split("\t")[:3] == ["scale", "v1", "Approved"]
    assert headrace("models", "list", "nothing").stdout == ""


def test_a_contract_is_kept_or_declared_anew(repository: Path, folder: Path, headrace: Headrace) -> None:
    """Another meaning is refused, with what differs, until the declaration names a new API version."""
    assert headrace("models", "register", folder, "--version", "v1").exit_code == 0
    save(scaled(GOOD * 2), repository / "other.onnx")
    declare(folder, "expect:", "versions: [v1]\n    expect:")
    declare(folder, "golden:", 'golden:\n  - {name: any, request: golden.json, expect: [{output: "y", shape: [1, 4]}]}')
    declare(folder, "shape: [-1, 4]}", "shape: [-1, 4], meaning: metres}")
    new = ("models", "register", folder, "--version", "v2", "--model", repository / "other.onnx")
    refused(headrace(*new), "inputs.x.meaning: '' -> 'metres' (breaks callers). Keep it, or declare api_version: 2.")
    declare(folder, "api_version: 1", "api_version: 2")
    assert headrace(*new).exit_code == 0
    compared = headrace("models", "diff", "scale", "v1", "v2")
    assert compared.exit_code == 1
    assert compared.stdout.splitlines() == [
        "api_version: 1 -> 2",
        "inputs.x.meaning: '' -> 'metres' (breaks callers)",
    ]
    same = headrace("models", "diff", "scale", "v2", "v2")
    assert (same.exit_code, same.stdout) == (0, "")


def test_a_name_is_one_artifact_until_it_is_rejected(repository: Path, folder: Path, headrace: Headrace) -> None:
    """Other bytes under a registered name are refused; after a rejection the name is free, and the version new."""
    assert (
        headrace("models", "register", folder, "--version", "v2", "--model", repository / "scale.onnx").exit_code == 0
    )
    save(scaled(GOOD + 0.001), repository / "scale.onnx")
    again = ("models", "register", folder, "--version", "v2", "--model", repository / "scale.onnx")
    refused(headrace(*again), "give the new artifact a name of its own, or reject that one first")
    assert headrace("models", "approve", "scale", "v2", "--reject", "--why", "wrong weights").exit_code == 0
    assert headrace(*again).exit_code == 0
    assert [line.split("\t")[2] for line in headrace("models", "list").stdout.splitlines()] == [
        "PendingManualApproval",
        "Rejected",
    ]


def test_a_wrong_answer_is_not_registered(repository: Path, folder: Path, headrace: Headrace) -> None:
    """A model that answers otherwise than is known is refused, and nothing of it is stored."""
    save(scaled(GOOD[::-1].copy()), repository / "wrong.onnx")
    result = headrace("models", "register", folder, "--version", "v2", "--model", repository / "wrong.onnx")
    refused(result, "Golden request recorded is not answered as declared: y: [")
    assert headrace("models", "list").stdout == ""


def test_an_artifact_that_cannot_be_served_is_told(repository: Path, folder: Path, headrace: Headrace) -> None:
    """The serving program's own reason is the line."""
    file = artifact_directory(repository / ".headrace" / "artifacts", "scale", "v1") / "manifest.json"
    manifest = json.loads(file.read_text())
    declare(folder, f'"{_digest(folder)}"', f'"sha256:{"0" * 64}"')
    refused(headrace("models", "register", folder, "--version", "v1"), "declare what you mean")
    manifest["files"]["model.onnx"]["sha256"] = "0" * 64
    file.write_text(json.dumps(manifest, sort_keys=True, separators=(",", ":")) + "\n")
    declare(folder, "  v1: {", "  v7: {")
    refused(headrace("models", "register", folder, "--version", "v1"), "model.onnx is corrupt")


def test_what_is_not_the_one_declared_replaces_nothing(repository: Path, folder: Path, headrace: Headrace) -> None:
    """A file given for a pinned version must be the one pinned; the artifact that is there stays."""
    place = artifact_directory(repository / ".headrace" / "artifacts", "scale", "v1")
    before = artifact_digest(place)
    save(scaled(GOOD * 3), repository / "other.onnx")
    result = headrace("models", "register", folder, "--version", "v1", "--model", repository / "other.onnx")
    refused(result, "declare what you mean")
    assert artifact_digest(place) == before


def _digest(folder: Path) -> str:
    return next(part for part in (folder / "endpoint.yaml").read_text().split('"') if part.startswith("sha256:"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("register", "endpoints/none", "--version", "v1"), "cannot be read: No such file"),
        (("register", "endpoints/scale", "--version", "V 1"), "A version's name"),
        (("register", "endpoints/scale", "--version", "v9"), "give --model FILE, or write a build.py"),
        (("register", "endpoints/scale", "--version", "v9", "--model", "none.onnx"), "there is no such file"),
        (("register", "endpoints/scale", "--version", "v1", "--example", "x.json"), "--example goes with --model"),
        (("approve", "scale", "v9", "--why", "x"), "registered are: none"),
        (("approve", "scale", "v9", "--why", " "), "Say why"),
        (("diff", "scale", "v1", "v2"), "registered are: none"),
        (("list", "--stage", "Prod!"), "A stage is a name"),
        (("list", "x" * 60), "63 characters"),
        (("inspect", "endpoints"), "is no file"),
        (("inspect", "scale.onnx", "--declaration", "endpoints/plans.yaml"), "cannot be read"),
        (("inspect", "scale.onnx", "--example", "none.json"), "is no inference request"),
        (("inspect", "scale.onnx", "--write", "endpoints/scale/endpoint.yaml"), "nothing is overwritten"),
        (("inspect", "scale.onnx", "--write", "endpoints/Scale/endpoint.yaml"), "--write takes endpoints/NAME"),
        (("inspect", "scale.onnx", "--write", "elsewhere/scale/endpoint.yaml"), "--write takes endpoints/NAME"),
    ],
)
def test_wrong_input_gets_one_clear_line(
    repository: Path, folder: Path, headrace: Headrace, arguments: tuple[str, ...], said: str
) -> None:
    """Whatever is wrong, the line says what."""
    paths = {
        text: repository / text
        for text in arguments
        if "/" in text or text.endswith((".onnx", ".json")) or text == "endpoints"
    }
    refused(headrace("models", *(paths.get(text, text) for text in arguments)), said)


def test_a_declaration_without_golden_requests_is_not_enough(folder: Path, headrace: Headrace) -> None:
    """Nothing is registered unchecked, and a wrong declaration is told with its line."""
    text = (folder / "endpoint.yaml").read_text()
    (folder / "endpoint.yaml").write_text(text[: text.index("golden:")])
    refused(headrace("models", "register", folder, "--version", "v1"), "declares no golden request for v1")
    (folder / "endpoint.yaml").write_text(text.replace("task: tensors", "task: magic"))
    refused(headrace("models", "register", folder, "--version", "v1"), "endpoint.yaml:5: task: must be one of")
    (folder / "endpoint.yaml").write_text(text)
    (folder / "golden.json").unlink()
    refused(headrace("models", "register", folder, "--version", "v1"), "golden.json cannot be read")


def test_a_declaration_is_held_against_the_model(repository: Path, folder: Path, headrace: Headrace) -> None:
    """Wrong declared shapes get the exact mend."""
    file, declared = repository / "scale.onnx", folder / "endpoint.yaml"
    assert headrace("models", "inspect", file, "--declaration", declared).exit_code == 0
    declare(folder, "shape: [-1, 4]}", "shape: [-1, 5]}")
    refused(
        headrace("models", "inspect", file, "--declaration", declared),
        "inputs[0] (x): the model has [-1, 4], declared is [-1, 5]: write shape: [-1, 4]",
    )


def test_without_a_platform_a_stage_must_be_named(headrace: Headrace, repository: Path) -> None:
    """No account is guessed."""
    (repository / ".headrace" / "run" / "state.json").unlink()
    refused(headrace("models", "list"), "name a deployed stage with --stage")
    refused(headrace("--profile", "prod", "models", "list"), "add --stage NAME")
