"""Every change of a deployment shows in a diff: one line per resource, without hashes of assets.

After a change that was meant: `HEADRACE_UPDATE_SNAPSHOTS=1 python -m pytest tests/infrastructure/test_snapshots.py`.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.infrastructure.conftest import Synthesised

FOLDER = Path(__file__).parent / "snapshots"
UPDATE = "HEADRACE_UPDATE_SNAPSHOTS"
_HASHES = re.compile(r"(?<![ab])[0-9a-f]{32,64}(?![0-9a-f])")
_DASHBOARD = "AWS::CloudWatch::Dashboard"


def _lines(template: dict[str, Any]) -> list[str]:
    """A template as text: one line per resource, in order, the dashboards' drawing left out."""
    lines = []
    for name, resource in template["Resources"].items():
        properties = dict(resource.get("Properties", {}))
        if resource["Type"] == _DASHBOARD:
            properties.pop("DashboardBody", None)
        kept = {key: resource[key] for key in ("DependsOn", "DeletionPolicy") if key in resource}
        text = json.dumps({**properties, **kept}, sort_keys=True)
        lines.append(f"{resource['Type']} {name} {text}")
    lines += [f"Output {name} {json.dumps(output, sort_keys=True)}" for name, output in template["Outputs"].items()]
    return [_HASHES.sub("<hash>", line) for line in sorted(lines)]


@pytest.mark.parametrize("stage", ["dev", "prod"])
@pytest.mark.parametrize("stack", ["platform", "endpoints"])
def test_deployment_is_as_recorded(stages: dict[str, Synthesised], stage: str, stack: str) -> None:
    """The synthesised template equals the snapshot in the repository."""
    now = "\n".join(_lines(getattr(stages[stage], stack))) + "\n"
    file = FOLDER / f"{stage}-{stack}.txt"
    if os.environ.get(UPDATE):
        file.write_text(now, encoding="utf-8")
    recorded = file.read_text(encoding="utf-8") if file.is_file() else ""
    changed = sorted(set(now.splitlines()) ^ set(recorded.splitlines()))
    assert not changed, f"run with {UPDATE}=1 if this was meant:\n" + "\n".join(changed)
