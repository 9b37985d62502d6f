"""What every suite shares: the sizes of modules, printed as guidance at the end of a run."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE_LINES_GUIDE = 250
SOURCE_FOLDERS = ("functions", "layers/core", "endpoints", "infra_cdk", "infra_local")


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
