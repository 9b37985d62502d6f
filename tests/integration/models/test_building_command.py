"""``python -m endpoints.building`` as a user runs it, on a toy endpoint in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

from tests.unit.building.toy_endpoint import make_endpoint

REPOSITORY = Path(__file__).parents[3]


def run(endpoints: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command from the repository's root."""
    return subprocess.run(
        [sys.executable, "-m", "endpoints.building", "--endpoints", str(endpoints)],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_a_new_folder_is_built_and_named(tmp_path: Path) -> None:
    """An endpoint in another folder is built with no registration, beside that folder, and its digests are printed."""
    make_endpoint(tmp_path / "endpoints" / "toy_command")
    first, second = run(tmp_path / "endpoints"), run(tmp_path / "endpoints")
    assert first.returncode == second.returncode == 0, first.stdout + first.stderr
    assert (tmp_path / ".headrace" / "artifacts" / "toy_command" / "v1" / "manifest.json").is_file()
    assert "toy_command/v1 sha256:" in first.stdout
    assert second.stdout.count("already there") == 2


def test_ctrl_c_is_a_clean_stop(tmp_path: Path) -> None:
    """An interrupted build exits with 130 and a sentence, without a stack trace."""
    folder = make_endpoint(tmp_path / "endpoints" / "toy_stopped")
    (folder / "stop").touch()
    stopped = run(tmp_path / "endpoints")
    assert stopped.returncode == 130
    assert "stopped" in stopped.stdout
    assert "Traceback" not in stopped.stdout + stopped.stderr


def test_offline_says_what_to_do(tmp_path: Path) -> None:
    """With no package index to reach, the command fails with the package's name and what to do, and leaves nothing."""
    folder = make_endpoint(tmp_path / "endpoints" / "toy_offline")
    pin = "no-such-model==1.0 --hash=sha256:" + "a" * 64 + "  # licence: MIT\n"
    (folder / "sources.txt").write_text(pin, encoding="utf-8")
    (folder / "numbers.py").write_text("TEXT = 'x'\n", encoding="utf-8")
    build = (folder / "build.py").read_text(encoding="utf-8")
    read = "    sources.member('no-such-model', 'weights', sha256='0' * 64)\n    sources.report("
    (folder / "build.py").write_text(build.replace("    sources.report(", read), encoding="utf-8")
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": ""}
    failed = run(tmp_path / "endpoints", **nowhere)
    assert failed.returncode == 1, failed.stdout + failed.stderr
    assert "no-such-model 1.0: connect to a package index" in failed.stdout
    assert "Traceback" not in failed.stdout + failed.stderr
    assert list((tmp_path / ".headrace" / "artifacts" / "toy_offline").iterdir()) == []
