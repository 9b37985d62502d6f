"""What every suite shares: how long an example may take, and the sizes of modules, printed as guidance at the end."""

from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine makes any example late, and no test here is about speed; pytest's own timeout bounds each test.
settings.register_profile("headrace", deadline=None)
settings.load_profile("headrace")

ROOT = Path(__file__).parents[1]
MODULE_LINES_GUIDE = 250
SOURCE_FOLDERS = ("functions", "layers/core", "endpoints", "infra_cdk", "infra_local", "headrace_cli")


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
