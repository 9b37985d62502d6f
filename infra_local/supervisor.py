"""``up``: starts the platform, says so, and stays until it is told to stop."""

import asyncio
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from infra_local import remote
from infra_local.administration import Administration
from infra_local.plan import PlanError
from infra_local.ports import PortTakenError, choose_port
from infra_local.remote import RefusedError
from infra_local.stack import Stack, StartError
from infra_local.state import NotRunningError, State, read_state, state_path, write_private, write_state
from infra_local.welcome import sample_image, welcome

PREFERRED_PORT = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What ``up`` was asked for.

    Attributes:
        port: Asked for by number, or ``None``.
        endpoints: The folder of declarations.
        artifacts: The folder of artifacts.
        folder: ``.headrace``.
        image: A picture for the printed commands, or ``None`` for a generated one.
        colour: Whether the terminal may be coloured.
    """

    port: int | None
    endpoints: Path
    artifacts: Path
    folder: Path
    image: Path | None
    colour: bool


def up(options: UpOptions) -> int:
    """Runs the platform until Ctrl-C, SIGTERM or ``down``; returns the exit status."""
    console = Console(no_color=not options.colour, highlight=False, soft_wrap=True)
    try:
        running = read_state(options.folder)
        # A pid may be another program's by now, in a container even our own: only an answer proves that it runs.
        remote.ask(options.folder, "GET", "/status")
    except (NotRunningError, RefusedError):
        pass
    else:
        console.print(f"already running (pid {running.pid}) at {running.url}: stop it with `make down`")
        return 1
    try:
        port = choose_port(options.port, preferred=PREFERRED_PORT)
    except PortTakenError as error:
        console.print(str(error))
        return 1
    if options.port is None and port != PREFERRED_PORT:
        console.print(f"port {PREFERRED_PORT} is taken; using {port}")
    return asyncio.run(_run(options, port, console))


async def _run(options: UpOptions, port: int, console: Console) -> int:
    stop = asyncio.Event()
    _obey_signals(stop, console)
    stack = Stack(
        endpoints=options.endpoints,
        artifacts=options.artifacts,
        folder=options.folder,
        port=port,
        report=lambda words: console.print(f"[yellow]![/] {words}" if options.colour else f"! {words}"),
    )
    try:
        if not await _start(stack, stop, console):
            return 0
        await _tell(stack, options, stop, console)
    except (PlanError, StartError) as error:
        console.print(f"cannot start:\n{error}", markup=False)
        return 1
    finally:
        with console.status("stopping"):
            await stack.stop()
        state_path(options.folder).unlink(missing_ok=True)
    console.print("stopped")
    return 0


async def _start(stack: Stack, stop: asyncio.Event, console: Console) -> bool:
    """Starts everything, showing each step; ``False`` when it was told to stop meanwhile."""
    stopped = asyncio.ensure_future(stop.wait())
    steps = stack.starting()
    began = time.monotonic()
    with console.status("starting") as status:
        words = ""
        while True:
            step = asyncio.ensure_future(anext(steps, None))
            await asyncio.wait({step, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not step.done():
                step.cancel()
                await asyncio.gather(step, return_exceptions=True)
                return False
            if words:
                console.print(f"  {time.monotonic() - began:5.1f} s  {words}")
            next_words = step.result()
            if next_words is None:
                stopped.cancel()
                return True
            words = next_words
            status.update(words)


async def _tell(stack: Stack, options: UpOptions, stop: asyncio.Event, console: Console) -> None:
    """Writes the state file, prints the welcome and waits for the end."""
    administration = Administration(stack, stop=stop)
    admin_url = await administration.start()
    run_folder = state_path(options.folder).parent
    key_file = run_folder / "api-key"
    write_private(key_file, stack.api_key + "\n")
    image = options.image
    if image is None:
        image = run_folder / "sample.png"
        image.write_bytes(sample_image())
    write_state(
        options.folder,
        State(
            pid=os.getpid(),
            url=stack.url,
            admin_url=admin_url,
            admin_token=administration.token,
            api_key_file=str(key_file),
            environment=stack.environment(),
            processes=stack.process_ids(),
        ),
    )
    console.print(welcome(stack, image=image, key_file=key_file), markup=False)
    try:
        await stop.wait()
    finally:
        await administration.stop()


def _obey_signals(stop: asyncio.Event, console: Console) -> None:
    """The first signal stops in order; the second ends at once, and the children with it (see ``leash``)."""

    def obey() -> None:
        if stop.is_set():
            console.print("forced")
            sys.stdout.flush()
            os._exit(130)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, obey)
