"""The program itself, started with some of its three streams closed, as service managers and scripts do."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_is_no_traceback(tmp_path: Path, closed: str) -> None:
    """What would be read is empty, what would be written is thrown away; refusals keep their exit status."""
    (tmp_path / "config.toml").write_text('[profiles.p]\nurl = "https://headrace.test"\n')
    command = f'"$0" -m headrace_cli --profile p login {closed} && exit 9; "$0" -m headrace_cli config --help {closed}'
    environment = {"HEADRACE_CONFIG_DIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    run = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        input="",
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )
    assert (run.returncode, "Traceback" in run.stderr) == (0, False)
