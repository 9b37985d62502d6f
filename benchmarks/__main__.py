"""`python -m benchmarks [NAME|all] [--quick]`: measure, print, and keep the results."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module

from benchmarks.processes import SCRATCH
from benchmarks.report import RESULTS, Report, text, write

NAMES = (
    *("imports", "fleet", "rollout", "gateway", "serving", "overload", "faults"),
    *("rollout_live", "batch_chaos", "batch"),
)
"""In the order of `all`: the short ones first."""


def main(arguments: list[str]) -> int:
    """Run what was asked for.

    Returns:
        0, even when targets are missed: a benchmark tells, it does not judge.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="?", default="all", choices=(*NAMES, "all"))
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures go to scratch")
    asked = parser.parse_args(arguments)
    for name in NAMES if asked.what == "all" else (asked.what,):
        sys.stderr.write(f"measuring {name} …\n")
        run: Callable[..., Report] = import_module(f"benchmarks.{name}").run
        report = run(quick=asked.quick)
        page = write(report, folder=SCRATCH / "results" if asked.quick else RESULTS)
        print(text(report))
        print(f"\nwritten: {page}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
