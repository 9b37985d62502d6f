"""`headrace routing` over the real adapter and an account in memory: what it shows, changes, refuses and restores."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.routing.changes import with_canary
from headrace.routing.document import Canary, Routing
from headrace_aws.state_table import StateTable, key
from headrace_cli.main import app
from headrace_cli.operating import Operator
from headrace_cli.rolling import Stores, open_stores
from headrace_cli.steering import FILE_BYTES_MAX
from headrace_cli.world import World
from tests.contract.conftest import PatientCalls, make_state_table
from tests.integration.local.toy_endpoint import write_toy_endpoint
from tests.unit.cli.conftest import no_keyring
from tests.unit.headrace.routing.documents import BY, rollout

FILE = """\
api: headrace/routing/v1
endpoint: toy
weights: {v1: 75%, v2: 2500}
sticky: {headers: [x-conversation]}
groups:
  beta: {weights: {v2: 100%}, tenants: [acme], by_header: true}
pins: {globex: v1}
shadow: {version: v2, share: 2.5%}
"""


@dataclass
class Desk:
    """An operator at the stage `test`."""

    folder: Path
    stores: Stores

    def __call__(self, *arguments: object, stdin: str | bytes | None = None) -> Result:
        """Runs a command of `headrace routing`."""
        world = World(
            environment={},
            find_config_folder=lambda: self.folder / "config",
            here=self.folder,
            open_keyring=no_keyring,
        )
        told = ["routing", *map(str, arguments), "--stage", "test"]
        result = CliRunner().invoke(app, told, obj=world, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    def done(self, *arguments: object, stdin: str | None = None) -> Result:
        """Runs a command that succeeds."""
        result = self(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        return result

    def apply(self, text: str, *more: object) -> Result:
        """Applies a file."""
        (self.folder / "routing.yaml").write_text(text, encoding="utf-8")
        return self("apply", "routing.yaml", "--why", "a test", *more)

    def standing(self) -> Routing | None:
        """The document in force."""
        return self.stores.routings.read("toy", consistent=True)


@pytest.fixture
def desk(aws: None, tmp_path: Path) -> Desk:
    """A stage with one endpoint that hosts v1 and v2, and no routing document."""
    write_toy_endpoint(tmp_path)
    make_state_table("headrace-test-state")
    return Desk(tmp_path, open_stores(Operator("headrace-test")))


def test_a_file_is_put_in_force_whole(desk: Desk) -> None:
    """Percents and basis points, groups, pins, stickiness and shadow; who and why are kept, and what moves is said."""
    result = desk.apply(FILE)
    assert result.exit_code == 0, result.output
    assert "version 1 is in force within 30 seconds" in result.stdout
    assert "from v1 to v2" in result.stderr
    assert "100.00% of callers of acme move" in result.stderr
    found = desk.standing()
    assert found is not None
    assert found.weights == {"v1": 7_500, "v2": 2_500}
    assert found.shadow is not None
    assert (found.shadow.share, found.sticky.headers, found.pins) == (250, ("x-conversation",), {"globex": "v1"})
    assert (found.why, found.who[:8], found.at > 0) == ("a test", "arn:aws:", True)


def test_what_is_shown_can_be_applied_and_says_the_same(desk: Desk) -> None:
    """`show` prints a file; applied unchanged it moves nobody, and an older one is a conflict."""
    desk.apply(FILE)
    shown = desk.done("show", "toy").stdout
    assert "v1: 75%" in shown
    again = desk.apply(shown)
    assert again.exit_code == 0, again.output
    assert "0.00% of callers move" in again.stderr
    conflict = desk.apply(shown)
    assert conflict.exit_code == 1
    assert "routing_changed" in conflict.stderr
    before = json.loads(desk.done("show", "toy", "--version", 1, "--json").stdout)
    assert (before["version"], before["why"]) == (1, "a test")
    assert desk.done("diff", "toy", 1, 2).stdout == ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        (
            "api: headrace/routing/v1\nendpoint: toy\nweights: {v1: 60%, v2: 30%}\n",
            "routing.yaml:3: weights: they add up",
        ),
        ("api: headrace/routing/v1\nendpoint: toy\nweights: {v1: 90, v2: 10}\n", "write {v1: 90%, v2: 10%}"),
        ("api: headrace/routing/v1\nendpoint: toy\nweights: {v1: 0.9, v2: 0.1}\n", "write a percentage such as 12.5%"),
        ("api: headrace/routing/v1\nendpoint: toy\nweights: {v1: 33.333%, v2: 66.667%}\n", "at most two decimals"),
        ("api: headrace/routing/v1\nendpoint: toy\npins: {a: v1, a: v2}\n", "declared twice"),
        ("api: headrace/routing/v1\nendpoint: toy\ncanary: {}\n", "is not a field"),
        ("api: headrace/routing/v1\nendpoint: toy\nweights: {v9: 100%}\n", "toy hosts no version v9"),
        ("api: headrace/routing/v1\nendpoint: other\n", "No endpoint 'other' is declared here"),
        ("api: headrace/v1\nendpoint: toy\n", "api"),
    ],
)
def test_a_wrong_file_is_refused_with_its_mend(desk: Desk, text: str, says: str) -> None:
    """Nothing is written, and the line says what to do."""
    result = desk.apply(text)
    assert result.exit_code != 0
    assert says in result.stderr
    assert desk.standing() is None


def test_a_dry_run_and_a_check_change_nothing(desk: Desk) -> None:
    """They say which share of callers would move, from where to where."""
    for result in (
        desk.apply(FILE, "--dry-run"),
        desk.done("check", "routing.yaml"),
        desk.done("check", "-", stdin=FILE),
    ):
        assert result.exit_code == 0, result.output
        assert "Nothing was changed" in result.stderr
        assert "served then: v1 7" in result.stderr
    assert desk.standing() is None


def test_weights_pins_and_their_history(desk: Desk) -> None:
    """Each command is one version with its reason; `restore` brings an earlier one back, `diff` tells them apart."""
    desk.done("weights", "toy", "v1=60%", "v2=40%", "--why", "try it")
    desk.done("pin", "toy", "acme", "v2", "--why", "asked for it")
    desk.done("unpin", "toy", "acme", "--why", "no longer")
    desk.done("weights", "toy", "v1=10000", "--why", "too slow")
    desk.done("restore", "toy", 2, "--why", "it was not")
    found = desk.standing()
    assert found is not None
    assert (found.version, found.weights, found.pins) == (5, {"v1": 6_000, "v2": 4_000}, {"acme": "v2"})
    lines = desk.done("history", "toy").stdout.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["5", "4", "3", "2", "1"]
    assert "too slow" in lines[1]
    assert "v1=100%" in lines[1]
    differs = desk("diff", "toy", 4)
    assert differs.exit_code == 1
    assert "+  v1: 60%" in differs.stdout
    assert desk("diff", "toy", 0, 9).exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("weights", "toy", "v1=90", "v2=10", "--why", "w"), "write {v1: 90%, v2: 10%}"),
        (("weights", "toy", "v1=50%", "--why", "w"), "add 50 % (5000)"),
        (("weights", "toy", "v1", "--why", "w"), "such as v1=90%"),
        (("weights", "toy", "v1=lots", "--why", "w"), "write a percentage"),
        (("weights", "toy", "v9=100%", "--why", "w"), "toy hosts no version v9"),
        (("pin", "toy", "acme", "v9", "--why", "w"), "toy hosts no version v9"),
        (("unpin", "toy", "acme", "--why", "w"), "not pinned"),
        (("restore", "toy", 7, "--why", "w"), "There is no version 7"),
        (("pin", "toy", "acme", "v1"), "--why"),
    ],
)
def test_a_wrong_command_is_refused(desk: Desk, arguments: tuple[object, ...], says: str) -> None:
    """In one line, and nothing is written."""
    result = desk(*arguments)
    assert result.exit_code != 0
    assert says in result.stderr
    assert desk.standing() is None


def test_weights_are_the_rollouts_while_one_is_under_way(desk: Desk) -> None:
    """Changing them is refused by its id; a tenant may be pinned."""
    desk.done("weights", "toy", "v1=100%", "--why", "begin")
    standing = desk.standing()
    assert standing is not None
    canary = Canary("ro_1", "v2", 1, 100)
    desk.stores.routings.put(
        with_canary(standing, canary, baseline=rollout(standing, "v2").baseline, shadow=None, **BY)
    )
    refused = desk("weights", "toy", "v1=100%", "--why", "stop it")
    assert refused.exit_code == 1
    assert "ro_1" in refused.stderr
    desk.done("pin", "toy", "acme", "v2", "--why", "they asked")
    assert "# rollout ro_1 of v2: stage 1, 1 %" in desk.done("show", "toy").stdout


def test_a_document_that_cannot_be_read_is_mended_from_the_history(desk: Desk) -> None:
    """Changes say what to do, and `restore` puts an earlier document in its place."""
    desk.done("weights", "toy", "v1=60%", "v2=40%", "--why", "try it")
    table = StateTable("headrace-test-state", calls=PatientCalls())
    table.put({**key("routing#toy", "~now"), "document": {"S": "{"}})
    refused = desk("pin", "toy", "acme", "v2", "--why", "w")
    assert refused.exit_code == 1
    assert "headrace routing restore toy VERSION" in refused.stderr
    desk.done("restore", "toy", 1, "--why", "mend it")
    found = desk.standing()
    assert found is not None
    assert (found.version, found.weights, found.why) == (2, {"v1": 6_000, "v2": 4_000}, "mend it")


def test_of_two_names_that_are_gone_each_is_mended_by_its_own_command(desk: Desk) -> None:
    """A deployment may take a version away that weights and a pin name; neither command waits for the other."""
    desk.done("weights", "toy", "v1=60%", "v2=40%", "--why", "begin")
    standing = desk.standing()
    assert standing is not None
    gone = replace(standing, version=2, weights={"v1": 6_000, "old": 4_000}, pins={"acme": "old"}, slots={})
    desk.stores.routings.put(gone)
    first = desk.done("weights", "toy", "v1=100%", "--why", "one")
    assert "warning: pins.acme" in first.stderr
    refused = desk("pin", "toy", "globex", "older", "--why", "a new one is refused")
    assert refused.exit_code == 1
    assert "warning" not in desk.done("unpin", "toy", "acme", "--why", "two").stderr
    listed = json.loads(desk.done("history", "toy", "--json").stdout)
    assert [each["version"] for each in listed] == [4, 3, 2, 1]


def test_what_is_no_document_is_not_read_to_its_end(desk: Desk) -> None:
    """A device has no size and no end; a stream is refused and not cut off; bytes that are no text are told."""
    (desk.folder / "latin.yaml").write_bytes(b"endpoint: \xff")
    for file, stdin, said in (
        ("/dev/zero", None, "has more than"),
        ("-", FILE.encode() + b"#" * FILE_BYTES_MAX, "has more than"),
        ("-", b"endpoint: \xff", "is not UTF-8"),
        ("latin.yaml", None, "is not UTF-8"),
    ):
        result = desk("check", file, stdin=stdin)
        assert (result.exit_code, said in result.output) == (2, True), result.output
