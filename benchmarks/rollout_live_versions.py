"""Declarations and artifacts of a scenario: the real detector with a second version, good or spoilt, at weight 0."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.conditions import ROOT
from endpoints.building import artifact_digest, artifact_directory, artifacts_root
from endpoints.building.artifact import MANIFEST, read_manifest, write_manifest

ENDPOINT = "detection"
CONTROL, CANARY = "v1", "v2"
OBJECTIVE_MS = 4_000
"""Of the 99th percentile: a busy machine must not look like an overload, nor waiting like a slow version."""
DEADLINE_MS, RUNG_MS = 24_000, 8_000
"""A laptop that runs all of this has seconds in which it does not come to what callers wait for."""
RIGHT, SWAPPED = "square.transpose(2, 0, 1)[None]", "square[..., ::-1].transpose(2, 0, 1)[None]"
"""How model.py makes planes of pixels, and the same with blue where red belongs."""


class NotBuilt(RuntimeError):
    """An artifact is missing; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the platform finds what it runs."""

    endpoints: Path
    artifacts: Path


def write_versions(
    folder: Path, *, rollout: Mapping[str, Any], base: str = CANARY, spoil: Callable[[Path], None] | None = None
) -> Folders:
    """Write a folder of declarations with the detector alone, and its artifacts.

    Args:
        folder: An empty or missing folder.
        rollout: The declaration's section `rollout`.
        base: The real version that the canary is a copy of.
        spoil: What is done to the canary's files before its manifest is written again.

    Raises:
        NotBuilt: The real artifacts are not there.
    """
    shutil.rmtree(folder, ignore_errors=True)
    built = artifacts_root(ROOT, {})
    artifacts, endpoints = folder / "artifacts", folder / "endpoints"
    for version, source in ((CONTROL, CONTROL), (CANARY, base), ("lite", "lite")):
        real = artifact_directory(built, ENDPOINT, source)
        if not (real / MANIFEST).is_file():
            raise NotBuilt(f"no artifact of {ENDPOINT}/{source}: run `make models`")
        shutil.copytree(real, artifacts / ENDPOINT / version, ignore=shutil.ignore_patterns("__pycache__"))
    canary = artifacts / ENDPOINT / CANARY
    if spoil is not None:
        spoil(canary)
    if spoil is not None or base != CANARY:
        _manifest_again(canary)
    (endpoints / ENDPOINT).mkdir(parents=True)
    shutil.copy(ROOT / "endpoints" / "plans.yaml", endpoints / "plans.yaml")
    digests = {each.name: artifact_digest(each) for each in (artifacts / ENDPOINT).iterdir()}
    declaration = _declaration(digests, rollout)
    # JSON is YAML, and every line of it can be told in an error.
    (endpoints / ENDPOINT / "endpoint.yaml").write_text(json.dumps(declaration, indent=1) + "\n", encoding="utf-8")
    return Folders(endpoints, artifacts)


def swap_channels(artifact: Path) -> None:
    """Let a version see blue where red is: its answers stay plausible."""
    program = artifact / "model.py"
    text = program.read_text(encoding="utf-8")
    if text.count(RIGHT) != 1:
        raise NotBuilt(f"{program} makes its planes in another way now: say here how channels are exchanged in it")
    program.write_text(text.replace(RIGHT, SWAPPED), encoding="utf-8")


def _manifest_again(artifact: Path) -> None:
    before = read_manifest(artifact)
    write_manifest(
        artifact,
        endpoint=ENDPOINT,
        version=CANARY,
        task=before["task"],
        metrics=before["metrics"],
        sources=before["sources"],
    )


def _declaration(digests: Mapping[str, str], rollout: Mapping[str, Any]) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - whoever lists benchmarks needs none

    text = (ROOT / "endpoints" / ENDPOINT / "endpoint.yaml").read_text(encoding="utf-8")
    declared: dict[str, Any] = yaml.safe_load(text)
    for name, digest in digests.items():
        declared["versions"][name]["artifact"] = digest
    declared["versions"][CONTROL]["weight"] = 1
    declared["versions"][CANARY]["weight"] = 0
    declared["slo"]["latency_p99_ms"] = OBJECTIVE_MS
    declared["rollout"] = dict(rollout)
    # A photo that is asked for again must reach a version again. Nothing else stands between a caller and the ladder.
    for section in ("cache", "golden"):
        declared.pop(section, None)
    declared["fallback"] = [rung for rung in declared["fallback"] if rung["kind"] != "stale"]
    for rung in declared["fallback"]:
        rung["timeout_ms"] = RUNG_MS
    declared["deadline"] = {"default_ms": DEADLINE_MS, "max_ms": DEADLINE_MS}
    return declared
