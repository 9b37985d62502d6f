"""Looks into an ONNX file that somebody brought: what it is, whether it can be served, and how to declare it.

Nothing in the file is trusted. What it says is read, and what it does is tried, in a child process with bounds on
memory and time; nothing is ever unpickled or unpacked.
"""

from endpoints.inspecting.errors import RefusedError
from endpoints.inspecting.inspection import Inspection, inspect

__all__ = ["Inspection", "RefusedError", "inspect"]
