"""What the chaos benchmark makes of results and errors."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.batch_chaos_report import sum_up
from benchmarks.batch_tally import RECORDS, Tally, join, write_input
from benchmarks.report import Report, markdown

BAD = {2, 5}


def line(number: int, **changed: Any) -> dict[str, Any]:
    """A line of results or errors."""
    return {"line": number, "custom_id": f"r{number}", "degraded": None} | changed


def outcome() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Results and errors as they should be."""
    results = [line(number) for number in range(1, RECORDS + 1) if number not in BAD]
    return results, [line(number, custom_id=None) for number in sorted(BAD)]


def tally(**changed: Any) -> Tally:
    """A seed that went well."""
    well = Tally(
        seed=1, door="posted", records=RECORDS, results=RECORDS - 2, degraded=0, errors=2, missing=0, twice=0, wrong=0,
        unlucky=0, kills=6, doubled=4, redrives=0, state="completed", adds_up=True, seconds=9.0,
    )  # fmt: skip
    return replace(well, **changed)


def test_an_input_is_the_same_for_a_seed_and_broken_where_it_says_so(tmp_path: Path) -> None:
    """Every line that is not named is a record of its own number."""
    files = [tmp_path / name for name in ("a", "b", "c")]
    bad, again, other = (write_input(file, ["x", "y"], seed=seed) for file, seed in zip(files, (1, 1, 2), strict=True))
    assert bad == again != other
    assert files[0].read_bytes() == files[1].read_bytes()
    rows = files[0].read_text(encoding="utf-8").splitlines()
    assert len(rows) == RECORDS
    assert 0 < len(bad) < RECORDS / 10
    good = [json.loads(row) for number, row in enumerate(rows, 1) if number not in bad]
    assert [each["custom_id"] for each in good] == [f"r{n}" for n in range(1, RECORDS + 1) if n not in bad]


def test_a_perfect_outcome_joins_without_a_rest() -> None:
    """Every record once, the broken ones as errors."""
    results, errors = outcome()
    found = join(results, errors, bad=BAD)
    assert (found.results, found.errors) == (RECORDS - 2, 2)
    assert (found.missing, found.twice, found.wrong, found.unlucky, found.degraded) == (0, 0, 0, 0, 0)


def test_each_way_to_go_wrong_is_seen() -> None:
    """Lost, doubled, crossed, answered though broken, from nowhere; and what is allowed is counted apart."""
    results, errors = outcome()
    assert join(results[1:], errors, bad=BAD).missing == 1
    assert join([*results, results[0]], errors, bad=BAD).twice == 1
    assert join(results, [*errors, line(1)], bad=BAD).twice == 1
    assert join([*results, line(2)], errors[1:], bad=BAD).wrong == 1
    assert join([line(1, custom_id="r3"), *results[1:]], errors, bad=BAD).wrong == 1
    assert join([*results, line(RECORDS + 1)], errors, bad=BAD).wrong == 1
    assert join(results[1:], [*errors, line(1)], bad=BAD).unlucky == 1
    assert join([line(1, degraded={"reason": "fault"}), *results[1:]], errors, bad=BAD).degraded == 1


def test_a_tally_is_exact_only_when_everything_is() -> None:
    """Errors of right records and stand-ins' answers are allowed."""
    assert tally().exact
    assert tally(unlucky=1, degraded=20, redrives=2).exact
    changes: list[dict[str, Any]] = [
        {"missing": 1}, {"twice": 1}, {"wrong": 1}, {"results": 1}, {"state": "failed"}, {"adds_up": False}
    ]  # fmt: skip
    assert not any(tally(**changed).exact for changed in changes)


def test_the_target_wants_twenty_seeds() -> None:
    """Fewer are no proof, one that fails is one."""

    def met(exact: int, inexact: int = 0, *, seeds: int = 20) -> bool | None:
        report = Report("batch_chaos", "Chaos", {})
        failed = {"19": "TimeoutError: late"} if exact + inexact < seeds else {}
        sum_up(report, [tally()] * exact + [tally(missing=1)] * inexact, failed, seeds=seeds)
        assert "seed" in markdown(report)
        return report.targets[0].met

    assert met(20) is True
    assert met(19, 1) is False
    assert met(19) is False
    assert met(2, seeds=2) is None
    assert met(1, 1, seeds=2) is False
