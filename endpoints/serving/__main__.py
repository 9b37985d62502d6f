"""`python -m endpoints.serving serve`: what SageMaker runs in the container."""

from __future__ import annotations

import asyncio
import os
import sys

import uvloop

from endpoints.serving import log
from endpoints.serving.artifact import ArtifactError
from endpoints.serving.runner import LoadError
from endpoints.serving.server import ListenError, serve
from endpoints.serving.settings import SettingsError, read_settings

USAGE = "usage: python -m endpoints.serving serve"


def main(arguments: list[str]) -> int:
    """Serve until told to stop.

    Args:
        arguments: Command-line arguments; SageMaker gives `serve`.

    Returns:
        The exit status; 2 for wrong usage or settings, 1 for an artifact or port that cannot be served.
    """
    if arguments not in (["serve"], []):
        sys.stderr.write(USAGE + "\n")
        return 2
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        log.write("error", "settings_wrong", reason=str(error))
        return 2
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(serve(settings))
    except (ArtifactError, LoadError, ListenError) as error:
        log.write("error", "start_failed", reason=str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
