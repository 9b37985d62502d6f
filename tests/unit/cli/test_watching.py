"""Watching: what is shown, how often it looks, and how it leaves."""

import io
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from headrace_cli.progress import PAUSE_MAX_S, PAUSE_MIN_S, duration, look_of, next_pause_s, sentence
from headrace_cli.watching import SILENCE_MAX_S, Bar
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_headrace import API, BATCH_ID, FakeHeadrace, batch, refusal

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["id", "status", "request_counts", "errors", "output_file_id", "model"])
MORE = st.sampled_from(["rate_per_s", "eta_s", "cost", "paused", "method", "reason", "redrivable", "model"])


def interrupt() -> None:
    """A person presses Ctrl-C."""
    raise KeyboardInterrupt


def test_ctrl_c_leaves_the_batch_running(cli: Cli, server: FakeHeadrace) -> None:
    """It says how to come back, exits with 130, and asks the service for nothing."""
    server.looks = [batch(done=3)]
    server.on_look = interrupt
    result = cli("batch", "status", BATCH_ID, "--watch")
    assert result.exit_code == 130
    assert f"headrace batch status {BATCH_ID} --watch" in result.stderr
    assert {request.method for request in server.requests} == {"GET"}


def test_lines_are_told_when_something_changes_and_now_and_then(cli: Cli, server: FakeHeadrace) -> None:
    """A log gets a line per state and per pause, and one every ten seconds between."""
    server.looks = [
        batch("validating", total=0),
        *(batch(done=n) for n in range(5)),
        batch(done=5, paused="circuit_open"),
        batch(done=6),
        batch("finalizing", done=10),
        batch("completed", done=10),
    ]
    lines = cli("batch", "status", BATCH_ID, "--watch").stderr.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "validating", "in_progress", "in_progress", "in_progress", "finalizing", "completed",
    ]  # fmt: skip
    assert "paused: circuit_open" in lines[2]
    server.looks = [*(batch(done=n, total=100) for n in range(25)), batch("completed", done=100, total=100)]
    assert len(cli("batch", "status", BATCH_ID, "--watch").stderr.splitlines()) == 4


def test_a_service_that_is_away_for_a_while_does_not_end_the_watch(cli: Cli, server: FakeHeadrace) -> None:
    """The batch does not need the watcher, and the network comes back."""
    server.looks = [batch(done=3), batch("completed", done=10)]
    server.trouble[f"GET {API}/v1/batches"] = [*[httpx.ConnectError("away")] * 14, *[httpx.Response(502)] * 7]
    assert cli("batch", "status", BATCH_ID, "--watch").exit_code == 0


def test_a_service_that_stays_away_is_given_up(cli: Cli, server: FakeHeadrace) -> None:
    """After a quarter of an hour without an answer, with the way to come back."""
    server.trouble[f"GET {API}/v1/batches"] = [httpx.ConnectError("away")] * 10_000
    result = cli("batch", "status", BATCH_ID, "--watch")
    assert result.exit_code == 1
    assert cli.clock.now_s >= SILENCE_MAX_S
    assert "Come back with" in result.stderr


def test_a_refusal_ends_the_watch(cli: Cli, server: FakeHeadrace) -> None:
    """A key that was revoked will not be taken at the next look either."""
    server.trouble[f"GET {API}/v1/batches"] = [refusal(401, "invalid_api_key", "The key is not known.")]
    result = cli("batch", "status", BATCH_ID, "--watch")
    assert result.exit_code == 1
    assert "Come back with" not in result.stderr
    assert len(server.requests) == 1


def test_the_bar_shows_pace_errors_and_pauses() -> None:
    """What stands at the end is the last look; nothing from outside is taken for markup or for control."""
    text = io.StringIO()
    bar = Bar(Console(file=text, force_terminal=True, width=160, color_system=None))
    bar.show(look_of(batch(done=3, failed=2, eta_s=90, paused="[red]busy\x1b[2J")))
    bar.close()
    for words in ("in_progress", "5/10", "5/s", "1 min 30 s left", "2 errors", "paused: [red]busy[2J"):
        assert words in text.getvalue()
    assert "\x1b[2J" not in text.getvalue()


def test_a_person_gets_a_bar(cli: Cli, server: FakeHeadrace) -> None:
    """On a terminal the watch draws, and ends with the same exit status."""
    server.looks = [batch(done=3), batch("completed", done=9, failed=1)]
    assert cli("batch", "status", BATCH_ID, "--watch", terminal=True).exit_code == 3


@given(looks=st.lists(st.tuples(st.booleans(), st.none() | st.floats(0, 1e6)), max_size=40))
def test_looks_are_neither_hasty_nor_rare(looks: list[tuple[bool, float | None]]) -> None:
    """Every pause is within its bounds, and grows while nothing moves."""
    pause_s = PAUSE_MIN_S
    for moved, eta_s in looks:
        before, pause_s = pause_s, next_pause_s(pause_s, moved=moved, eta_s=eta_s)
        assert PAUSE_MIN_S <= pause_s <= PAUSE_MAX_S
        assert moved or pause_s > before or pause_s == PAUSE_MAX_S


@example(top={"status": "\x00"}, more={})
@given(top=st.dictionaries(FIELDS, JSON_VALUES), more=st.dictionaries(MORE, JSON_VALUES) | JSON_VALUES)
def test_any_document_can_be_looked_at(top: dict[str, Any], more: Any) -> None:
    """A service of another age leaves fields out or writes others: that is shown as not known, in printable signs."""
    words = sentence(look_of({**top, "headrace": more}))
    assert words
    assert words.isprintable()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_durations_are_said_in_two_units(seconds: float, words: str) -> None:
    """Seconds, then minutes, then hours."""
    assert duration(seconds) == words
