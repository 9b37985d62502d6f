"""What the batch benchmark makes of what it measured."""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.batch import Findings
from benchmarks.batch_files import agrees, id_of, joined, lines_of, result_of, write_csv, write_jsonl, write_large
from benchmarks.batch_memory import Load
from benchmarks.batch_notes import Answered, Note, Sum, items_of, rate_between, read_notes, summed
from benchmarks.batch_online import Beside, Online, online_of
from benchmarks.batch_report import best_of, sum_up
from benchmarks.batch_stub import answer_of
from benchmarks.batch_throughput import Baseline, Batched, stages_of
from benchmarks.load.shots import Seen, Shot
from benchmarks.report import Report, markdown

TEXTS = ["good", 'bad,\n"quoted"', "ünsure"]
SCORED = Sum(runs=4, seconds=8.0, cpu_s=2.0, peak_mb=120.0, calls={"S3 PutObject": 8, "DynamoDB GetItem batch": 4})


def batched(*, form: str = "jsonl", rate: float = 80.0, agreed: int = 5, lost: int = 0) -> Batched:
    """A batch of a hundred rows."""
    ids = [id_of(row) for row in range(100 - lost)]
    return Batched(
        form=form,
        rows=100,
        state="completed",
        seconds=100 / rate,
        stages={"validating": 0.1, "in_progress": 1.0, "finalizing": 0.1},
        cpu_s={"moto": 0.2, "nothing": 0.0},
        functions={"batch_score": SCORED},
        method="map",
        shards=2,
        degraded=0,
        join=joined(100, ids, []),
        compared=5,
        agreed=agreed,
    )


def findings(**changed: Any) -> Findings:
    """Everything measured, and well."""
    online = Online(requests=10, answered=10, p50_ms=20.0, p99_ms=40.0, worst_ms=41.0)
    found: dict[str, Any] = {
        "before": [Baseline(32, 1, 90.0), Baseline(8, 2, 100.0)],
        "after": [Baseline(32, 1, 95.0)],
        "jsonl": batched(),
        "csv": batched(form="csv"),
        "loads": [Load(size, 10, "completed", 1.0, 10, {"batch_score": SCORED}) for size in (1_000, 1_000_000)],
        "beside": Beside(online, online, ((50.0, 5.0, 45.0),)),
    }
    return Findings(**found | changed)


def verdicts(found: Findings) -> list[bool | None]:
    """What became of the four targets: rows, exactness, memory, online."""
    report = Report("batch", "Batches", {})
    sum_up(report, found, baseline_rows=100)
    assert markdown(report)
    assert json.dumps(report.raw)
    return [target.met for target in report.targets]


def test_all_targets_can_be_met() -> None:
    """And the bar is the best run of the model in process, before or after."""
    assert best_of(findings()) == 100.0
    assert verdicts(findings()) == [True, True, True, True]


def test_each_target_can_be_missed() -> None:
    """A slow batch, a lost row, an answer that differs, a large process, and callers who wait."""
    slow = Online(requests=10, answered=10, p50_ms=20.0, p99_ms=53.0, worst_ms=60.0)
    quiet = findings().beside
    assert quiet is not None
    fat = Sum(1, 1.0, 1.0, 301.0, {})
    assert verdicts(findings(jsonl=batched(rate=66.0)))[0] is False  # of 95 at the same batch size
    assert verdicts(findings(jsonl=batched(rate=67.0)))[0] is True
    assert verdicts(findings(csv=batched(lost=1)))[1] is False
    assert verdicts(findings(csv=batched(agreed=4)))[1] is False
    large = [Load(10, 1, "completed", 1.0, 1, {"batch_plan": fat})] * 2
    assert verdicts(findings(loads=large))[2] is False
    assert verdicts(findings(beside=Beside(quiet.quiet, slow, ((1.0, 1.0, 1.0),))))[3] is False


def test_callers_who_were_not_answered_miss_the_target_however_quick_the_others_were() -> None:
    """A refusal is quick."""
    quiet = findings().beside
    assert quiet is not None
    refused = Online(requests=10, answered=9, p50_ms=20.0, p99_ms=40.0, worst_ms=40.0)
    assert verdicts(findings(beside=Beside(quiet.quiet, refused, ((1.0, 1.0, 1.0),))))[3] is False


def test_what_was_not_measured_is_not_judged() -> None:
    """A part that failed leaves the others their figures, and its reason is on the page."""
    found = Findings(failed={"JSONL": "TimeoutError: slow"})
    assert verdicts(found) == [None, None, None, None]
    begun = [Load(10, 10, state, 1.0, 5, {"batch_score": SCORED}) for state in ("completed", "not over")]
    assert verdicts(findings(loads=begun))[2] is None


def test_a_part_that_fails_is_told_and_timed() -> None:
    """Others go on."""
    found = Findings()

    def fail() -> int:
        raise TimeoutError("never")

    assert found.take("memory", fail) is None
    assert found.take("online", lambda: 3) == 3
    assert found.failed == {"memory": "TimeoutError: never"}
    assert set(found.seconds) == {"memory", "online"}


def test_files_hold_the_same_rows_under_ids_of_their_own(tmp_path: Path) -> None:
    """Texts begin again when they are used up; CSV keeps commas, quotes and line ends."""
    requests = list(lines_of(write_jsonl(tmp_path / "a.jsonl", TEXTS, rows=5)))
    with write_csv(tmp_path / "a.csv", TEXTS, rows=5).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [each["body"]["input"] for each in requests] == [row["text"] for row in rows] == [*TEXTS, *TEXTS[:2]]
    assert (
        [each["custom_id"] for each in requests] == [row["custom_id"] for row in rows] == [id_of(n) for n in range(5)]
    )


def test_a_large_file_has_its_size_and_counts_its_records(tmp_path: Path) -> None:
    """To the record: whole lines."""
    rows = write_large(tmp_path / "large.jsonl", [f"tweet number {n} é" for n in range(900)], size=100_000)
    lines = (tmp_path / "large.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == rows
    assert 100_000 <= (tmp_path / "large.jsonl").stat().st_size < 110_000
    assert len({json.loads(line)["input"] for line in lines}) == rows


@given(st.integers(1, 40), st.data())
def test_a_join_finds_what_is_missing_doubled_or_unknown(rows: int, data: st.DataObject) -> None:
    """Whatever is taken from, repeated in or added to a perfect result."""
    ids = [id_of(row) for row in range(rows)]
    assert joined(rows, ids, []).exact
    row = data.draw(st.integers(0, rows - 1))
    assert joined(rows, ids[:row] + ids[row + 1 :], [ids[row]]).exact
    assert joined(rows, ids[:row] + ids[row + 1 :], []).missing == 1
    assert joined(rows, ids, [ids[row]]).twice == 1
    assert joined(rows, ids, ["stranger"]).unknown == 1
    for found in (joined(rows, ids[1:], []), joined(rows, ids, [ids[row]]), joined(rows, ids, ["None"])):
        assert not found.exact


def test_results_out_of_order_are_told() -> None:
    """They are exact all the same."""
    found = joined(3, [id_of(2), id_of(0), id_of(1)], [])
    assert found.exact
    assert not found.in_order


def test_answers_agree_within_the_tolerance_and_with_the_same_label() -> None:
    """Of either shape of line."""
    online = {"label": "a", "scores": {"a": 0.9, "b": 0.1}}
    bare = {"result": {"label": "a", "scores": {"a": 0.90005, "b": 0.09995}}}
    request = {"response": {"body": {"results": [online]}}}
    assert agrees(result_of(bare), online)
    assert agrees(result_of(request), online)
    assert not agrees({"label": "a", "scores": {"a": 0.9002, "b": 0.0998}}, online)
    assert not agrees({"label": "b", "scores": online["scores"]}, online)
    assert not agrees({"label": "a", "scores": {"a": 0.9}}, online)


def test_notes_are_summed_by_function_in_the_order_of_a_batch(tmp_path: Path) -> None:
    """Peaks are not added up; earlier notes can be passed over."""
    notes = [
        Note("batch_score", 1.0, 0.5, 100.0, {"S3 GetObject": 1}),
        Note("batch_plan", 2.0, 1.0, 80.0, {}),
        Note("batch_score", 3.0, 0.5, 90.0, {"S3 GetObject": 2}),
    ]
    file = tmp_path / "notes.jsonl"
    assert read_notes(file) == []
    rows = [asdict(note) for note in notes]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert read_notes(file) == notes
    assert read_notes(file, behind=2) == notes[2:]
    sums = summed(notes)
    assert list(sums) == ["batch_plan", "batch_score"]
    assert sums["batch_score"] == Sum(2, 4.0, 1.0, 100.0, {"S3 GetObject": 3})


def test_the_stub_answers_each_text_that_it_was_asked_about() -> None:
    """It reads their number from the tensor's shape."""
    body = json.dumps({"inputs": [{"name": "text", "shape": [7, 1], "datatype": "BYTES", "data": []}]}).encode()
    outputs = {each["name"]: each for each in answer_of(items_of(body))["outputs"]}
    assert len(outputs["label"]["data"]) == 7
    assert len(outputs["probabilities"]["data"]) == 21
    with pytest.raises(ValueError, match="shape"):
        items_of(b"{}")


def test_a_rate_counts_items_between_two_moments() -> None:
    """The end does not belong to it."""
    answers = [Answered(float(at_s), 8) for at_s in range(10)]
    assert rate_between(answers, 2.0, 6.0) == 8.0
    assert rate_between(answers, 20.0, 21.0) == 0.0


def test_latencies_are_those_of_answers() -> None:
    """Refusals are counted, and not timed."""
    seen = [Seen(Shot(0.0), 0.0, 0.01 * n, 200 if n < 9 else 503, {}) for n in range(1, 11)]
    found = online_of(seen)
    assert (found.requests, found.answered, round(found.worst_ms)) == (10, 8, 80)
    with pytest.raises(ValueError, match="answered"):
        online_of(seen[-1:])


def test_a_state_lasts_until_the_next_one_is_seen() -> None:
    """One that was never seen took no time."""
    first = {"validating": 1.0, "in_progress": 3.0, "completed": 9.0}
    assert stages_of(first) == {"validating": 2.0, "in_progress": 6.0, "finalizing": 0.0}
