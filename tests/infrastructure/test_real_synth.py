"""One synthesis as a user runs it: every layer bundled, CDK's own template validation on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 600


@pytest.mark.timeout(_TIMEOUT_S)
def test_make_synth_writes_valid_templates_within_lambdas_size(tmp_path: Path) -> None:
    """`python -m infra_cdk.synth` succeeds, which needs valid templates, a clean review and functions below 250 MB."""
    environment = {name: value for name, value in os.environ.items() if name != "CDK_VALIDATION"}
    done = subprocess.run(
        [sys.executable, "-m", "infra_cdk.synth", "--stage", "prod", "--output", tmp_path / "out"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert (tmp_path / "out" / "headrace-prod-platform.template.json").is_file()
    assert "headrace-prod-predict:" in done.stdout
    assert "always on" in done.stdout
