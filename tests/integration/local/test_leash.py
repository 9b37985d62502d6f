"""Children on a leash die with their parent, by the kernel's tie and by the pipe's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import infra_local.leash

_PARENT = """
import os, subprocess, sys
leash = [sys.executable, "-I", "-S", sys.argv[1], *sys.argv[2:], str(os.getpid())]
child = subprocess.Popen([*leash, sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE)
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("how", [[], ["--pipe"]], ids=["kernel", "pipe"])
def test_child_dies_when_its_parent_is_killed(how: list[str]) -> None:
    """After kill -9 of the parent, the child is gone, whichever way it was tied."""
    command = [sys.executable, "-c", _PARENT, infra_local.leash.__file__, *how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        program = Path(f"/proc/{child}/cmdline")
        while b"sleep" not in program.read_bytes() or b"leash" in program.read_bytes():
            time.sleep(0.01)
        os.kill(parent.pid, signal.SIGKILL)
        while program.exists() and program.read_bytes():  # a zombie's is empty
            time.sleep(0.01)
