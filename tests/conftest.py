"""What every suite shares: how long an example may take, which tests stay together, and the sizes of modules."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A busy machine makes any example late, and no test here is about speed; pytest's own timeout bounds each test.
settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")

ROOT = Path(__file__).parents[1]
MODULE_LINES_GUIDE = 250
SOURCE_FOLDERS = ("functions", "layers/core", "endpoints", "infra_cdk", "infra_local", "headrace_cli")


SHARED_PLATFORMS = ("tests/integration/whole_platform", "tests/infrastructure")
"""Folders whose files share what is made once per session, and slowly."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers (`-n`), a file's tests stay together, and so do all of a folder that shares one platform."""
    for item in items:
        file = item.path.relative_to(ROOT).as_posix()
        group = next((folder for folder in SHARED_PLATFORMS if file.startswith(folder)), file)
        item.add_marker(pytest.mark.xdist_group(group))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the modules that have outgrown the guide; a reader decides, not the test run."""
    sizes = {
        path.relative_to(ROOT): path.read_text(encoding="utf-8").count("\n")
        for folder in SOURCE_FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    }
    large = {path: lines for path, lines in sizes.items() if lines > MODULE_LINES_GUIDE}
    if large:
        terminalreporter.section(f"modules over {MODULE_LINES_GUIDE} lines (guidance)")
        for path, lines in sorted(large.items(), key=lambda item: -item[1]):
            terminalreporter.write_line(f"{lines:5} {path}")
