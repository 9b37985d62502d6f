"""The overload benchmark's tables, targets and words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from benchmarks.report import Report, Table, Target, paragraphs

if TYPE_CHECKING:
    from benchmarks.overload import Measured
    from benchmarks.overload_endpoint import Tower
    from benchmarks.overload_figures import Window

GOODPUT_MIN = 0.9
CALM = 1.0
"""Multiples below it belong to the way back and not to the comparison."""
NOTES = paragraphs("""\
The endpoint is one of the benchmark's own: a model of a fixed amount of work a request, one request at a time, no
batching, no cache, no rung to fall to. So what is not computed is refused. The plans have the real tiers without their
limits.

Goodput: answers of status 200 within the objective, a second. Latencies count from the moment when a request was due,
as drawn beforehand (Poisson, with a seed), until its last byte; `admitted` is what was answered with 200. Callers give
up after three seconds.

Capacity is measured first, in the same run, by four callers in a closed loop through the whole platform. The peak is
the best goodput of any multiple.

The model has one core to itself, as on a machine of its own. API front, functions, emulated AWS services and the load
generator share the other one. The peer has the model's core; the generator the other one.

The peer is plain FastAPI around the same ONNX file: one process, its default thread pool, one ONNX Runtime thread a
run. It is started anew for each multiple.

Each multiple is measured after its warm-in; what happens before is told apart as the transition.
""")


def sum_up(
    report: Report, *, ours: Measured, peer: Measured, tower: Tower, slo_ms: int, shares: Mapping[str, float]
) -> None:
    """Fill the report."""
    report.targets += list(_targets(ours, peer, slo_ms=slo_ms))
    report.tables += [
        _windows("The platform", ours),
        _windows("Plain FastAPI and ONNX Runtime, the same load", peer),
        _tiers(ours, shares),
        _transition(ours, slo_ms=slo_ms),
        _cores(ours),
    ]
    report.notes += [
        (
            f"One request takes {tower.service_s * 1000:.0f} ms on one idle core ({tower.blocks} blocks); the objective"
            f" is {slo_ms} ms. Capacity: {ours.capacity:.2f} requests a second through the platform, "
            f"{peer.capacity:.2f} through plain FastAPI."
        ),
        *NOTES,
    ]


def peak(measured: Measured) -> float:
    """The best goodput of any multiple."""
    return max(window.goodput for window in measured.windows.values())


def _targets(ours: Measured, peer: Measured, *, slo_ms: int) -> Iterator[Target]:
    highest = max(ours.windows)
    top, plain = ours.windows[highest], peer.windows[max(peer.windows)]
    ratio = top.goodput / peak(ours)
    yield Target(
        f"{highest:g} times the capacity: goodput over its peak",
        f"≥ {GOODPUT_MIN}",
        f"{ratio:.2f} (plain FastAPI {plain.goodput / (peak(peer) or 1):.2f})",
        ratio >= GOODPUT_MIN,
    )
    for multiple, window in sorted(ours.windows.items()):
        if multiple >= CALM and window.p99_ms is not None:
            met = window.p99_ms <= slo_ms
            reached = f"{window.p99_ms:.0f} ms"
            yield Target(f"{multiple:g} times: p99 of admitted requests", f"≤ {slo_ms} ms", reached, met)


def _windows(title: str, measured: Measured) -> Table:
    best = peak(measured)
    rows = tuple(
        (
            f"{multiple:g}",
            f"{window.offered:.1f}",
            f"{window.goodput:.2f}",
            f"{window.goodput / best:.2f}" if best else "0",
            _ms(window.p50_ms),
            _ms(window.p99_ms),
            _endings(window),
            f"{window.late_ms:.1f}",
        )
        for multiple, window in sorted(measured.windows.items())
        if multiple >= CALM
    )
    columns = (
        "times capacity",
        "offered/s",
        "goodput/s",
        "÷ peak",
        "admitted p50 ms",
        "admitted p99 ms",
        "refused or failed, share of all",
        "generator late, p99 ms",
    )
    return Table(title, columns, rows)


def _endings(window: Window) -> str:
    return ", ".join(f"{code}: {share:.1%}" for code, share in window.endings.items()) or "none"


def _tiers(measured: Measured, shares: Mapping[str, float]) -> Table:
    rows = tuple(
        (f"{multiple:g}", *(f"{window.served.get(plan, 0):.1%}" for plan in shares))
        for multiple, window in sorted(measured.windows.items())
        if multiple >= CALM
    )
    columns = ("times capacity", *(f"{plan} ({share:.0%} of requests)" for plan, share in shares.items()))
    return Table("The platform: served within the objective, by plan", columns, rows)


def _transition(measured: Measured, *, slo_ms: int) -> Table:
    rows = (
        (
            f"from 1 to {max(measured.windows):g} times: p99 of admitted within {slo_ms} ms after",
            _seconds(measured.settled_s),
        ),
        ("back to half the capacity: 99 % of requests served after", _seconds(measured.recovered_s)),
    )
    return Table("The platform: transitions", ("what", "seconds"), rows)


def _cores(measured: Measured) -> Table:
    multiples = sorted(measured.cores)
    parts = dict.fromkeys(part for used in measured.cores.values() for part in used)
    rows = tuple((part, *(f"{measured.cores[multiple].get(part, 0):.2f}" for multiple in multiples)) for part in parts)
    return Table("The platform: cores used", ("part", *(f"at {multiple:g} times" for multiple in multiples)), rows)


def _ms(value: float | None) -> str:
    return "none served" if value is None else f"{value:.0f}"


def _seconds(value: int | None) -> str:
    return "not within the phase" if value is None else str(value)
