"""What is read from the tools, and what is written for the reader."""

import json
from pathlib import Path

import pytest

from benchmarks.imports import read_weights
from benchmarks.load.wrk import parse
from benchmarks.report import Report, Table, Target, markdown, paragraphs, text, write
from benchmarks.rounds import in_turns

WRK = """Running 1s test @ http://127.0.0.1:1/invocations
  1 threads and 8 connections

{"requests":500,"duration_us":2000000,"p50_us":1500,"p99_us":4250,"max_us":9000,"bad_status":3,"lost":1}
"""
IMPORTTIME = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   zipimport
import time:      2500 |       9000 | fastapi.routing
"""


def a_report() -> Report:
    """A report with one of everything."""
    return Report(
        "toy",
        "Toys",
        {"load": "0.1"},
        targets=[Target("speed", "≥ 1", "0.9", met=False), Target("grace", "0", "no tool", met=None)],
        tables=[Table("Rates", ("who", "req/s"), (("ours | theirs", "12"),))],
        notes=["Read it twice."],
        raw={"rates": [1.0]},
    )


def test_wrk_summary_is_read_in_our_units() -> None:
    """Microseconds become milliseconds and seconds; failures are kept apart from requests."""
    found = parse(WRK, load_cpu_s=0.5)
    assert (found.requests, found.seconds, found.p50_ms, found.p99_ms) == (500, 2.0, 1.5, 4.25)
    assert (found.bad_status, found.lost, found.load_cpu_s) == (3, 1, 0.5)


def test_wrk_without_a_summary_is_an_error() -> None:
    """A wrk that was cut short is not taken for one that measured nothing."""
    with pytest.raises(ValueError, match="no summary"):
        parse("unable to connect")


def test_import_times_are_read_by_module() -> None:
    """Own and cumulative time are told apart, and the heading is no module."""
    found = read_weights(IMPORTTIME)
    assert [(one.module, one.own_us, one.whole_us) for one in found] == [
        ("zipimport", 100, 100),
        ("fastapi.routing", 2500, 9000),
    ]


def test_missed_and_unmeasured_targets_are_said_plainly(tmp_path: Path) -> None:
    """The page says no for a miss and why for what was not measured; the JSON file holds the raw figures."""
    page = write(a_report(), folder=tmp_path).read_text(encoding="utf-8")
    assert "| speed | ≥ 1 | 0.9 | no |" in page
    assert "| grace | 0 | no tool | not measured |" in page
    assert "ours \\| theirs" in page
    document = json.loads((tmp_path / "toy.json").read_text(encoding="utf-8"))
    assert document["raw"] == {"rates": [1.0]}
    assert [target["met"] for target in document["targets"]] == [False, None]


def test_screen_and_page_hold_the_same_cells() -> None:
    """Whoever reads the terminal misses nothing of the tables."""
    report = a_report()
    for cell in ("speed", "0.9", "12", "0.1"):
        assert cell in text(report)
        assert cell in markdown(report)


def test_paragraphs_become_lines() -> None:
    """A note may be wrapped in source and is one line on the page."""
    assert paragraphs("one\ntwo\n\nthree\n") == ("one two", "three")


def test_contenders_take_turns() -> None:
    """Every round measures each contender once, and each of them goes first in some round."""
    order: list[str] = []

    def window(name: str) -> int:
        order.append(name)
        return len(order)

    found = in_turns({name: lambda name=name: window(name) for name in "abc"}, rounds=3)  # type: ignore[misc]
    assert order == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert {name: len(windows) for name, windows in found.items()} == {"a": 3, "b": 3, "c": 3}
