"""Counts what happens, as plain numbers on the event loop, and renders them for Prometheus and Triton's statistics.

Written by hand rather than with prometheus_client: its counters take a lock each, about a microsecond per observation,
where the whole of a request has twenty-five; and the text format is twenty lines (version 0.0.4,
https://prometheus.io/docs/instrumenting/exposition_formats/).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """A histogram with fixed bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, *, times: int = 1) -> None:
        """Count a value, or several equal ones."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += value * times

    def lines(self, name: str) -> Iterator[str]:
        """Render the samples."""
        below = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            below += count
            yield f'{name}_bucket{{le="{bound:g}"}} {below}'
        count = sum(self.counts)
        yield f'{name}_bucket{{le="+Inf"}} {count}'
        yield f"{name}_sum {self.total:.9g}"
        yield f"{name}_count {count}"


class Metrics:
    """All figures of one process."""

    __slots__ = (
        "batch_compute_s",
        "batches",
        "compute_s",
        "dropped",
        "failed",
        "queue_s",
        "responses",
        "rows",
        "served",
    )

    def __init__(self) -> None:
        self.responses: dict[tuple[str, int], int] = {}
        self.dropped = {"caller_gone": 0, "concurrency": 0, "deadline": 0, "queue_full": 0}
        self.queue_s = Histogram(SECONDS)
        self.compute_s = Histogram(SECONDS)
        self.batches = Histogram(ROWS)
        self.rows = 0
        self.served = 0
        self.failed = 0
        self.batch_compute_s: dict[int, list[float]] = {}

    def count_response(self, *, route: str, status: int) -> None:
        """Count one answer by route and status."""
        key = (route, status)
        self.responses[key] = self.responses.get(key, 0) + 1

    def count_batch(self, *, rows: int, requests: int, seconds: float) -> None:
        """Count one run of the model."""
        self.batches.observe(rows)
        self.compute_s.observe(seconds, times=requests)
        self.rows += rows
        sizes = self.batch_compute_s.get(rows)
        if sizes is None:
            self.batch_compute_s[rows] = [1, seconds]
        else:
            sizes[0] += 1
            sizes[1] += seconds

    def render(self, *, gauges: dict[str, tuple[str, float]]) -> bytes:
        """Render everything as Prometheus text.

        Args:
            gauges: Name → (help, value) of what is only known now.
        """
        lines: list[str] = []
        for name, (text, value) in gauges.items():
            lines += (f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {value:g}")
        lines += (
            "# HELP headrace_responses_total Answers by route and status.",
            "# TYPE headrace_responses_total counter",
        )
        lines += (
            f'headrace_responses_total{{route="{route}",code="{status}"}} {count}'
            for (route, status), count in sorted(self.responses.items())
        )
        lines += (
            "# HELP headrace_dropped_total Requests dropped before they cost compute.",
            "# TYPE headrace_dropped_total counter",
        )
        lines += (f'headrace_dropped_total{{reason="{reason}"}} {count}' for reason, count in self.dropped.items())
        lines += ("# HELP headrace_rows_total Rows computed.", "# TYPE headrace_rows_total counter")
        lines.append(f"headrace_rows_total {self.rows}")
        for name, text, histogram in (
            ("headrace_batch_rows", "Rows per run of the model.", self.batches),
            ("headrace_queue_seconds", "Time a request waited for its run.", self.queue_s),
            ("headrace_compute_seconds", "Time of the run a request was in.", self.compute_s),
        ):
            lines += (f"# HELP {name} {text}", f"# TYPE {name} histogram", *histogram.lines(name))
        return ("\n".join(lines) + "\n").encode()

    def statistics(self, *, model: str, version: str) -> dict[str, Any]:
        """Give the figures in the shape of Triton's statistics extension (times in nanoseconds)."""

        def duration(count: int, seconds: float) -> dict[str, int]:
            return {"count": count, "ns": int(seconds * 1e9)}

        computed = sum(self.compute_s.counts)
        return {
            "name": model,
            "version": version,
            "inference_count": self.rows,
            "execution_count": sum(self.batches.counts),
            "inference_stats": {
                "success": duration(self.served, self.queue_s.total + self.compute_s.total),
                "fail": duration(self.failed, 0.0),
                "queue": duration(sum(self.queue_s.counts), self.queue_s.total),
                "compute_input": duration(computed, 0.0),
                "compute_infer": duration(computed, self.compute_s.total),
                "compute_output": duration(computed, 0.0),
            },
            "batch_stats": [
                {
                    "batch_size": rows,
                    "compute_input": duration(int(count), 0.0),
                    "compute_infer": duration(int(count), seconds),
                    "compute_output": duration(int(count), 0.0),
                }
                for rows, (count, seconds) in sorted(self.batch_compute_s.items())
            ],
        }
