"""``python -m infra_local up|down|status|environment|fault|replay``."""

import argparse
import json
import os
import sys
from pathlib import Path

from infra_local import remote
from infra_local.faults import KINDS
from infra_local.functions import ROOT
from infra_local.remote import RefusedError
from infra_local.state import NotRunningError, read_state

PORT_MAX = 65_535


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= PORT_MAX:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {PORT_MAX}")
    return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra_local", description="The platform on this machine.")
    parser.add_argument("--folder", type=Path, default=ROOT / ".headrace", help="where logs and state are")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start everything and stay")
    up.add_argument("--port", type=_port, help="the API's port; without it 8000, or any free one")
    up.add_argument("--endpoints", type=Path, default=ROOT / "endpoints", help="the folder of declarations")
    artifacts = os.environ.get("HEADRACE_ARTIFACTS") or ROOT / ".headrace" / "artifacts"
    up.add_argument("--artifacts", type=Path, default=Path(artifacts), help="the folder of built models")
    up.add_argument("--image", type=Path, help="a picture for the printed commands")
    up.add_argument("--no-color", action="store_true", help="plain text")
    commands.add_parser("down", help="stop everything")
    commands.add_parser("status", help="say what runs")
    fault = commands.add_parser("fault", help="make an endpoint, or DynamoDB, misbehave")
    fault.add_argument("endpoint", nargs="?", help="an endpoint's short name, or dynamodb")
    fault.add_argument("kind", nargs="?", choices=(*KINDS, "clear"), help="what goes wrong; clear ends it")
    fault.add_argument("--variant", help="one variant, or of dynamodb one table (state, keys); without it, all")
    fault.add_argument("--rate", type=float, help="the share of requests that meet it (0 to 1)")
    fault.add_argument("--count", type=int, help="how many requests meet it; of corrupt, how many starts")
    fault.add_argument("--seconds", type=float, help="how long it lasts")
    fault.add_argument("--latency-ms", type=float, help="for latency and slow_start")
    fault.add_argument("--jitter-ms", type=float, help="up to this much more")
    fault.add_argument("--clear", action="store_true", help="end all faults, or those of the endpoint")
    commands.add_parser("environment", help="print what points boto3 and the operator's commands here, for eval")
    replay = commands.add_parser("replay", help="send an event file to the function that its folder names")
    replay.add_argument("event", type=Path)
    return parser


def _fault(options: argparse.Namespace) -> str:
    if options.kind == "clear" or options.endpoint == "clear":
        options.clear, options.kind = True, None
        options.endpoint = None if options.endpoint == "clear" else options.endpoint
    if not options.clear and (options.endpoint is None or options.kind is None):
        faults = remote.ask(options.folder, "GET", "/faults")
        return json.dumps(faults, indent=2) if faults else "no fault is in force"
    names = ("endpoint", "kind", "variant", "rate", "count", "seconds", "latency_ms", "jitter_ms", "clear")
    given = {name: getattr(options, name) for name in names}
    fields = {name: value for name, value in given.items() if value is not None and value is not False}
    return json.dumps(remote.ask(options.folder, "POST", "/faults", fields), indent=2)


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.command == "up":
        from infra_local.supervisor import UpOptions, up  # noqa: PLC0415 - the other commands start without it

        return up(
            UpOptions(
                port=options.port,
                endpoints=options.endpoints,
                artifacts=options.artifacts,
                folder=options.folder,
                image=options.image,
                colour=not options.no_color,
            )
        )
    try:
        match options.command:
            case "down":
                remote.stop(options.folder)
                words = "stopped"
            case "status":
                state = read_state(options.folder)
                words = json.dumps({"pid": state.pid, **remote.ask(options.folder, "GET", "/status")}, indent=2)
            case "environment":
                words = remote.environment(options.folder)
            case "fault":
                words = _fault(options)
            case _:
                words = remote.replay(options.folder, options.event)
    except (NotRunningError, RefusedError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(words + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
