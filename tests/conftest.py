"""What every suite shares: how long an example may take, which tests stay together, and the sizes of modules."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

# A busy machine makes any example late, and no test here is about speed; pytest's own timeout bounds each test.
settings.register_profile("headrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("headrace")

ROOT = Path(__file__).parents[1]
MODULE_LINES_GUIDE = 250
SOURCE_FOLDERS = ("functions", "layers/core", "endpoints", "infra_cdk", "infra_local", "headrace_cli")


SHARED_PLATFORMS = ("tests/integration/whole_platform", "tests/infrastructure")
"""Folders whose files share what is made once per session, and slowly."""
SLOW = (*SHARED_PLATFORMS, "tests/integration/")
"""What comes first where several workers run, so that none is left alone with it at the end."""


class ByFile(LoadScopeScheduling):
    """A file's tests stay together on one worker, and so do all of a folder that shares one platform.

    Not `--dist loadgroup`: it passes groups on in a test's id, which pytest 9.2 no longer lets it change.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in SHARED_PLATFORMS if file.startswith(folder)), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """With several workers (`-n`), see `ByFile`; the order is that of the collection."""
    config.option.loadscopereorder = False
    return ByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The slow ones first, where several workers run; one alone goes from the quick ones to the slow."""
    if hasattr(config, "workerinput"):
        items.sort(
            key=lambda item: next((at for at, slow in enumerate(SLOW) if item.nodeid.startswith(slow)), len(SLOW))
        )


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
