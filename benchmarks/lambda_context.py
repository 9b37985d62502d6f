"""What Lambda tells a handler about an invocation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Context:
    """An invocation of `bench` with time to spare."""

    function_name: str = "bench"
    memory_limit_in_mb: int = 1769
    invoked_function_arn: str = "arn:aws:lambda:eu-west-1:123456789012:function:bench"
    aws_request_id: str = "5f0c3b52-6d4f-4c0e-9f5a-0f6a5b1c2d3e"

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds left."""
        return 29_000
