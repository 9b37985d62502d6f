"""``python -m endpoints.building [NAME ...]``: makes the artifacts that are missing or out of date."""

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console

from endpoints.building.artifact import artifacts_root
from endpoints.building.builder import Built, build_endpoint, only_build
from endpoints.building.errors import BuildError
from endpoints.building.recipe import find_endpoints
from endpoints.building.terminal import reporting, show

DEFAULT_CACHE = Path(".headrace") / "downloads"
CACHE_VARIABLE = "HEADRACE_CACHE"
EXIT_FAILED = 1
EXIT_STOPPED = 130  # as a shell reports Ctrl-C


def main(arguments: list[str]) -> int:
    """Builds, shows a table, and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m endpoints.building", description="Make the model artifacts.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="endpoints to build (default: all with a build.py)")
    parser.add_argument("--endpoints", type=Path, default=Path("endpoints"), help="folder of endpoints")
    options = parser.parse_args(arguments)
    endpoints = options.endpoints.resolve()
    root = artifacts_root(endpoints.parent, os.environ)
    cache = endpoints.parent / os.environ.get(CACHE_VARIABLE, DEFAULT_CACHE)
    console, built = Console(), list[Built]()
    try:
        with reporting(console) as report, only_build(root, report=report):
            for folder in find_endpoints(endpoints, tuple(options.names)):
                for item in build_endpoint(folder, root=root, cache=cache, report=report):
                    built.append(item)
                    report(f"{item.endpoint}/{item.version} is there", None)
    except BuildError as error:
        console.print(f"[bold red]not built[/]: {type(error).__name__}", highlight=False)
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return EXIT_FAILED
    except KeyboardInterrupt:
        console.print("stopped; nothing half made was kept, and finished versions stay", highlight=False)
        return EXIT_STOPPED
    show(console, built)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
