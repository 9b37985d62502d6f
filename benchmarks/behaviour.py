"""Measures what speed must not cost: neighbours harmed by a bad request, requests lost when the server is stopped."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bare import Bare
from benchmarks.encoder import SEQUENCE, VOCABULARY
from benchmarks.load.draining import CALLERS, Drained, drain
from benchmarks.load.poison import BAD_THREADS, GOOD_THREADS, Poisoned, poison
from benchmarks.models import FEATURES, BenchModel, body_of, mlp, write_artifact
from benchmarks.report import Report, Table, Target
from benchmarks.rounds import say
from benchmarks.servers import HEADRACE, server

MARK = 666.0
MARKED_ROWS_CODE = f"""\
# A model whose batch breaks as soon as a marked row is in it, and which refuses the marked row when it is alone.
import numpy as np

MARK = {MARK}


class Model:
    inputs = (("x", "FP32", (-1, {FEATURES})),)
    outputs = (("y", "FP32", (-1, 10)),)
    metadata = {{}}

    def example(self):
        return {{"x": np.zeros((1, {FEATURES}), dtype=np.float32)}}, {{}}

    def preprocess(self, tensors, parameters):
        return {{"x": tensors["x"]}}, bool((tensors["x"] == MARK).any())

    def collate(self, feeds):
        rows = np.concatenate([feed["x"] for feed in feeds])
        if (rows == MARK).any():
            raise RuntimeError("a marked row")
        return {{"x": rows}}

    def postprocess(self, outputs, state, parameters):
        if state:
            error = ValueError("x: holds the reserved value")
            error.code = "reserved_value"
            raise error
        return outputs


def load(directory):
    return Model()
"""

WRONG_WIDTH = "a row of the wrong width (refused before it is queued)"
BREAKS_RUN = "a token id beyond the vocabulary (ONNX Runtime fails the whole batch)"
BREAKS_CODE = "a row on which model.py fails the whole batch"


def marked_rows(model: BenchModel, scratch: Path) -> BenchModel:
    """The small model with a model.py that fails on marked rows."""
    files = {"model.onnx": mlp(), "model.py": MARKED_ROWS_CODE.encode()}
    return BenchModel(
        "marked", write_artifact(scratch / "marked", endpoint="marked", files=files), model.feeds, model.bodies
    )


def poisons(small: BenchModel, large: BenchModel, *, scratch: Path) -> dict[str, tuple[BenchModel, bytes]]:
    """Each kind of poison, with the model that it is tried on."""
    short = {"name": "x", "datatype": "FP32", "shape": [1, 7], "data": [0.5] * 7}
    ids = np.full((1, SEQUENCE), VOCABULARY + 7, dtype=np.int64)
    unknown = {"input_ids": ids, "attention_mask": np.ones((1, SEQUENCE), dtype=np.int64)}
    marked = np.full((1, FEATURES), MARK, dtype=np.float32)
    return {
        WRONG_WIDTH: (small, json.dumps({"inputs": [short]}).encode()),
        BREAKS_RUN: (large, body_of(unknown)),
        BREAKS_CODE: (marked_rows(small, scratch), body_of({"x": marked})),
    }


def report_on(
    report: Report, *, small: BenchModel, large: BenchModel, scratch: Path, seconds: float, stops: int
) -> None:
    """Add both behaviours to a report.

    Args:
        report: Gets targets, tables and raw figures.
        small: The MLP.
        large: The encoder.
        scratch: Where an artifact may be written.
        seconds: Length of each poisoning.
        stops: SIGTERMs per model.
    """
    poisoned: dict[str, Poisoned] = {}
    for kind, (model, bad_body) in poisons(small, large, scratch=scratch).items():
        say(f"poison: {kind}")
        expected = Bare(model).expected()
        with server(HEADRACE, model, expected=expected[0], inline=False) as program:
            poisoned[kind] = poison(program, model, expected, bad_body=bad_body, seconds=seconds)
    drained: list[tuple[str, Drained]] = []
    for model in (small, large):
        first = Bare(model).expected()[0]
        for turn in range(stops):
            say(f"SIGTERM under load: {model.name}, {turn + 1} of {stops}")
            with server(HEADRACE, model, expected=first, inline=False) as program:
                drained.append((model.name, drain(program, model)))
    report.targets += [_poison_target(poisoned), _drain_target(drained)]
    report.tables += [_poison_table(poisoned), _drain_table(drained)]
    report.raw["poison"] = {kind: asdict(one) for kind, one in poisoned.items()}
    report.raw["sigterm"] = [{"model": name, **asdict(one)} for name, one in drained]


def _poison_target(poisoned: dict[str, Poisoned]) -> Target:
    good, failed, bad = (sum(getattr(one, name) for one in poisoned.values()) for name in ("good", "failed", "bad"))
    return Target(
        "good requests failed by a neighbour's bad one",
        "0",
        f"{failed} of {good:,} beside {bad:,} bad ones",
        failed == 0,
    )


def _drain_target(drained: list[tuple[str, Drained]]) -> Target:
    lost, after = (sum(getattr(one, name) for _, one in drained) for name in ("lost", "answered_after"))
    return Target(
        "requests lost at SIGTERM",
        "0",
        f"{lost} in {len(drained)} stops, {after:,} answered after the signal",
        lost == 0,
    )


def _poison_table(poisoned: dict[str, Poisoned]) -> Table:
    rows = [
        (kind, f"{one.good:,}", f"{one.failed}", f"{one.bad:,}", _statuses(one.bad_statuses))
        for kind, one in poisoned.items()
    ]
    title = f"Poison: {GOOD_THREADS} threads of good requests beside {BAD_THREADS} of bad ones"
    return Table(title, ("the bad request", "good sent", "good failed", "bad sent", "bad answered with"), tuple(rows))


def _drain_table(drained: list[tuple[str, Drained]]) -> Table:
    rows: list[tuple[str, ...]] = [
        (name, f"{one.answered:,}", f"{one.answered_after:,}", f"{one.refused}", f"{one.lost}", f"{one.seconds:.1f}",
         str(one.exit_status))
        for name, one in drained
    ]  # fmt: skip
    columns = ("model", "answered", "of these after the signal", "not 200", "lost", "seconds to the end", "exit status")
    return Table(f"SIGTERM while {CALLERS} callers ask", columns, tuple(rows))


def _statuses(counts: dict[int, Any]) -> str:
    return ", ".join(f"{status}: {count:,}" for status, count in sorted(counts.items())) or "none"
