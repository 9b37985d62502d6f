"""The process's life: listen, load and warm up, serve, and on SIGTERM drain without losing a request.

Draining: /ping and ready fail first; whoever still comes in for a moment is answered with `Connection: close`; then the
listener closes, having accepted whatever the kernel had already queued; idle connections close; unfinished requests get
until the limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
from typing import TYPE_CHECKING

from endpoints.serving import log
from endpoints.serving.app import App, Model
from endpoints.serving.artifact import open_artifact
from endpoints.serving.batcher import Batcher
from endpoints.serving.concurrency import Limiter, bounds
from endpoints.serving.exchange import Host
from endpoints.serving.metrics import Metrics
from endpoints.serving.protocol import Connection
from endpoints.serving.runner import Runner
from endpoints.serving.sessions import CPU
from endpoints.serving.warmup import Profile, warm_up

if TYPE_CHECKING:
    from endpoints.serving.settings import Settings

BACKLOG = 1024
SWEEP_S = 1.0
LAME_DUCK_S = 1.0  # for callers that have not yet seen /ping fail; their requests are answered
IDLE_GRACE_S = 1.5
POLL_S = 0.02


class ListenError(Exception):
    """The port cannot be had."""


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket.

    Raises:
        ListenError: Naming the address and the reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ListenError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


def load(settings: Settings) -> tuple[Runner, Profile]:
    """Verify, load and warm up the artifact; seconds of work, done on a thread.

    Raises:
        ArtifactError: The artifact is not what its manifest says.
        LoadError: It is, but cannot be served.
    """
    artifact = open_artifact(settings.model_dir, expected_digest=settings.artifact_digest)
    runner = Runner.load(artifact, tensorrt=settings.tensorrt)
    profile = warm_up(runner, threads=settings.threads, batch_rows_max=settings.batch_rows_max)
    return runner, profile


async def serve(settings: Settings) -> int:
    """Run until a signal.

    Returns:
        The process's exit status: 0, or 1 when requests were still unfinished at the drain limit.

    Raises:
        ArtifactError: As `load`.
        LoadError: As `load`.
        ListenError: As `listen`.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    app = App(metrics=Metrics())
    host = Host(app.handle)
    listener = listen(settings.host, settings.port)
    server = await loop.create_server(lambda: Connection(host), sock=listener)
    sweeper = asyncio.create_task(_sweep(host))
    log.write("info", "listening", host=settings.host, port=listener.getsockname()[1])
    loading = asyncio.create_task(asyncio.to_thread(load, settings))
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((loading, stopping), return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            runner, profile = loading.result()
            _open(app, settings=settings, runner=runner, profile=profile, loop=loop)
            await stopping
        return await _drain(app, host=host, server=server, listener=listener, drain_s=settings.drain_s)
    finally:
        sweeper.cancel()
        stopping.cancel()
        server.close()
        if app.model is not None:
            app.model.batcher.close()


def _open(app: App, *, settings: Settings, runner: Runner, profile: Profile, loop: asyncio.AbstractEventLoop) -> None:
    accelerated = runner.sessions[0].get_providers()[0] != CPU
    if settings.gpu_declared and not accelerated:
        log.write("warning", "gpu_not_used", providers=runner.sessions[0].get_providers())
    threads = 1 if accelerated else settings.threads
    batcher = Batcher(
        runner,
        profile=profile,
        threads=threads,
        queue_rows_max=settings.queue_rows_max,
        delay_max_s=settings.batch_delay_max_s,
        metrics=app.metrics,
        loop=loop,
    )
    rows_min, rows_max = bounds(
        batch_rows_max=profile.batch_rows_max,
        workers=1 if profile.inline else threads,
        queue_rows_max=settings.queue_rows_max,
    )
    limiter = Limiter(rows_min=rows_min, rows_max=rows_max)
    # What start-up made lives for ever: keep the collector from walking it while requests run.
    gc.collect()
    gc.freeze()
    app.open(Model(runner=runner, profile=profile, batcher=batcher, limiter=limiter))
    log.write(
        "info",
        "ready",
        model=runner.artifact.endpoint,
        version=runner.artifact.version,
        artifact=runner.artifact.digest,
        providers=runner.sessions[0].get_providers(),
        batchable=runner.batchable,
        batch_rows_max=profile.batch_rows_max,
        inline=profile.inline,
        wide_session=profile.wide,
        preprocess_off_loop=profile.preprocess_slow,
        curve_ms=[(rows, round(seconds * 1000, 3)) for rows, seconds in profile.curve],
    )


async def _sweep(host: Host) -> None:
    while True:
        host.sweep()
        await asyncio.sleep(SWEEP_S)


async def _drain(app: App, *, host: Host, server: asyncio.Server, listener: socket.socket, drain_s: float) -> int:
    loop = asyncio.get_running_loop()
    until = loop.time() + drain_s
    app.draining = True
    host.draining = True
    log.write("info", "draining", in_flight=app.in_flight, connections=len(host.connections))
    await asyncio.sleep(min(LAME_DUCK_S, drain_s / 2))
    # Connections whose handshake the kernel has finished would be reset by closing the listener: take them first,
    # and let nothing happen between the last of them and the close.
    accepted: list[socket.socket] = []
    with contextlib.suppress(OSError):
        while True:
            accepted.append(listener.accept()[0])
    server.close()
    listener.close()
    for sock in accepted:
        sock.setblocking(False)
        await loop.connect_accepted_socket(lambda: Connection(host), sock)
    # A connection may have been made, or answered, a moment ago, with its next request on the way: it gets a grace.
    idle_since: dict[Connection, float] = {}
    while host.connections and loop.time() < until:
        now = loop.time()
        for connection in tuple(host.connections):
            if not connection.idle:
                idle_since.pop(connection, None)
            elif now - idle_since.setdefault(connection, now) > IDLE_GRACE_S:
                connection.close()
        await asyncio.sleep(POLL_S)
    lost = app.in_flight
    for connection in tuple(host.connections):
        connection.abort()
    log.write("info" if not lost else "error", "stopped", unfinished=lost)
    return 1 if lost else 0
