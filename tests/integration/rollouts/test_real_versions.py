"""A good version of the real detector reaches all traffic, and a bad one none, by itself; what callers see is 200.

`python -m benchmarks rollout_live` does the same at length, with five bad versions.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.rollout_live_drive import Outcome, drive
from benchmarks.rollout_live_photos import photos
from benchmarks.rollout_live_scenarios import ROLLOUT, SCENARIOS, Scenario
from benchmarks.rollout_live_traffic import by_status
from benchmarks.rollout_live_versions import CANARY, CONTROL, ENDPOINT, Folders, NotBuilt, write_versions
from endpoints.building.errors import BuildError
from headrace_cli.main import app
from infra_local.state import State, state_path, write_private, write_state
from infra_local.threaded import ThreadedStack

pytestmark = [pytest.mark.slow, pytest.mark.local_stack, pytest.mark.models, pytest.mark.timeout(700)]
SECONDS_MAX = 300.0
"""A quarter of a minute is usual for each; a busy machine takes longer."""
LENIENT: dict[str, Any] = {
    **ROLLOUT,
    "steps": [25, 100],
    "bake_s": 2,
    "measure_requests": 12,
    "limits": {
        **{metric: {"rate_max": 0.4} for metric in ("failed", "late", "invalid")},
        "disagreed": {"rate_max": 0.5},
        "slower": None,
        "unsure": None,
    },
}
"""A test waits for tens of requests, not for hundreds."""


class Running:
    """A platform, and rollouts on it one after the other."""

    def __init__(self, stack: ThreadedStack, folders: Folders, folder: Path, sent: list[bytes]) -> None:
        self.stack = stack
        self.folder = folder
        self._folders = folders
        self._sent = sent

    def drive(self, scenario: Scenario, canary: str, *, settle: bool = True) -> Outcome:
        """One rollout from start to end, and until every function knows of it where that matters."""
        return drive(
            scenario,
            self.stack,
            self._folders,
            photos=self._sent,
            seed=5,
            seconds_max=SECONDS_MAX,
            canary=canary,
            settle=settle,
        )

    def command(self, *arguments: str) -> str:
        """What an operator's command prints."""
        done = CliRunner().invoke(app, [*arguments, "--endpoints", str(self._folders.endpoints)])
        assert done.exit_code == 0, done.output
        return done.stdout


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The platform with the two real versions, the second without traffic."""
    folder = tmp_path_factory.mktemp("rollouts")
    try:
        folders, sent = write_versions(folder / "declared", rollout=LENIENT), photos()
    except (NotBuilt, BuildError) as error:
        pytest.skip(str(error))
    run = folder / ".headrace"
    with ThreadedStack(endpoints=folders.endpoints, artifacts=folders.artifacts, folder=run) as stack:
        yield Running(stack, folders, folder, sent)


@pytest.fixture(scope="module")
def finished(running: Running) -> Outcome:
    """The end of a good version's rollout."""
    good = next(each for each in SCENARIOS if each.good)
    return running.drive(replace(good, rollout=LENIENT), CANARY, settle=False)


def test_a_good_version_reaches_all_traffic(finished: Outcome) -> None:
    """Step by step, with evidence for each decision, and no caller is without an answer."""
    assert finished.rollout.state == "finished", finished.rollout.reason
    assert finished.weights == {CONTROL: 0, CANARY: 10_000}
    assert [decision.what for decision in finished.decisions if decision.what != "hold"] == [
        "start",
        "measured",
        "advance",
        "finish",
    ]
    assert by_status(finished.answers).keys() == {200}


def test_a_bad_version_is_rolled_back_by_itself(
    running: Running, finished: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of its answers are errors: its callers are served by the other version, and then it is asked no more.

    The operator's commands show the evidence afterwards, and refuse it another try.
    """
    assert finished.rollout.state == "finished"

    def err(stack: ThreadedStack, _: object) -> None:
        stack.fault(endpoint=ENDPOINT, variant=CONTROL, kind="5xx", rate=0.5)

    bad = Scenario("errs", "half of its answers are errors", rollout=LENIENT, before=err)
    outcome = running.drive(bad, CONTROL)
    assert outcome.rollout.state == "rolled_back", outcome.rollout.reason
    assert outcome.weights == {CONTROL: 0, CANARY: 10_000}
    assert by_status(outcome.answers).keys() == {200}
    # The version that served, or the CPU function where the machine is busy; the one rolled back never.
    assert outcome.after
    assert f"{ENDPOINT}/{CONTROL}" not in {answer.served_by for answer in outcome.after if not answer.degraded}
    last = outcome.decisions[-1]
    assert (last.what, last.who) == ("roll_back", "controller")
    assert last.evidence["failed"] >= 2.0

    show_state(running)
    monkeypatch.chdir(running.folder)
    shown = json.loads(running.command("rollout", "history", ENDPOINT, outcome.rollout.rollout_id, "--json"))
    assert shown[-1]["what"] == "roll_back"
    picture = running.folder / "evidence.png"
    running.command("rollout", "plot", ENDPOINT, "--png", str(picture))
    assert picture.read_bytes().startswith(b"\x89PNG")
    again = ["rollout", "start", ENDPOINT, CONTROL, "--why", "once more", "--yes"]
    refused = CliRunner().invoke(app, [*again, "--endpoints", str(running._folders.endpoints)])
    assert refused.exit_code != 0
    assert "--again" in refused.output


def show_state(running: Running) -> None:
    """Write the state file by which commands find a platform; `make run` does."""
    run = running.folder / ".headrace"
    key = state_path(run).parent / "api-key"
    write_private(key, running.stack.api_key + "\n")
    write_state(
        run,
        State(
            pid=os.getpid(),
            url=running.stack.url,
            admin_url="http://127.0.0.1:9",
            admin_token="none",
            api_key_file=str(key),
            environment=running.stack.environment(),
        ),
    )
