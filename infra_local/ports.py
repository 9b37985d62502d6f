"""Which loopback port a part listens on."""

import socket

LOOPBACK = "127.0.0.1"


class PortTakenError(Exception):
    """The port that was asked for by number belongs to another program."""


def free_port() -> int:
    """Returns a loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Says whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def choose_port(wanted: int | None, *, preferred: int) -> int:
    """Chooses a port: the one asked for, else the preferred one, else any free one.

    Args:
        wanted: Asked for by number; 0 means any free one.
        preferred: Taken when nothing was asked for and it is free.

    Raises:
        PortTakenError: If the port asked for is taken.
    """
    if wanted == 0:
        return free_port()
    if wanted is not None:
        if not is_free(wanted):
            raise PortTakenError(f"port {wanted} is taken: stop what listens there, or choose another with --port")
        return wanted
    return preferred if is_free(preferred) else free_port()
