"""Starts a program that dies when its parent dies, even when the parent is killed with SIGKILL.

Run as a script (``python -I -S leash.py PARENT_PID PROGRAM ARG...``) so that it costs a bare interpreter and no import
of the platform. On Linux the kernel does the watching (``prctl(2)``, ``PR_SET_PDEATHSIG``) and this process becomes the
program. Elsewhere, or with ``--pipe``, a forked watcher reads a pipe whose writing end only the parent holds: end of
file means that the parent is gone.

The kernel's signal follows the *thread* that forked, so start children from a thread that lives as long as they should.
"""

import ctypes
import os
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1
_POLL_S = 1.0


def _tie_with_kernel(parent_pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_pid:  # it died before the tie was made
        os._exit(1)


def _tie_with_pipe() -> None:
    program_pid = os.getpid()
    if os.fork() != 0:
        return
    os.setsid()  # a Ctrl-C in the terminal must not end the watcher before the program
    while os.getppid() == program_pid:
        readable, _, _ = select.select([0], [], [], _POLL_S)
        if readable and not os.read(0, 1):
            os.kill(program_pid, signal.SIGKILL)
            break
    os._exit(0)


def main(arguments: list[str]) -> None:
    """Ties this process to its parent, then becomes the program named in the arguments.

    Args:
        arguments: ``[--pipe] PARENT_PID PROGRAM ARG...``; with ``--pipe``, standard input is the parent's pipe.
    """
    with_pipe = arguments[0] == "--pipe" or not sys.platform.startswith("linux")
    if arguments[0] == "--pipe":
        arguments = arguments[1:]
    if with_pipe:
        _tie_with_pipe()
    else:
        _tie_with_kernel(int(arguments[0]))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.execv(arguments[1], arguments[1:])  # noqa: S606 - becoming the program is what this file is for


if __name__ == "__main__":
    main(sys.argv[1:])
