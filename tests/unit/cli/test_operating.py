"""Which account an operator's command works on, and what is said when there is none."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace_cli.operating import Operator, find_operator, told_plainly
from headrace_cli.problems import Problem, UsageProblem
from headrace_cli.rolling import translated
from headrace_cli.world import Session, World

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:10",
}


@pytest.fixture
def session(tmp_path: Path) -> Session:
    """One run, beside a platform."""
    run = tmp_path / ".headrace" / "run"
    run.mkdir(parents=True)
    write(tmp_path, VARIABLES)
    (run / "api-key").touch(mode=0o600)
    world = World(
        environment={}, find_config_folder=lambda: tmp_path, here=tmp_path, open_keyring=lambda: pytest.fail("asked")
    )
    return Session(world)


def write(here: Path, variables: dict[str, str], **changed: Any) -> None:
    """The state file."""
    file = here / ".headrace" / "run" / "state.json"
    file.touch(mode=0o600)
    file.write_text(
        json.dumps({"pid": os.getpid(), "url": "http://127.0.0.1:8000", "environment": variables} | changed)
    )


def in_environment(session: Session, **environment: str) -> Session:
    """The same run with other variables."""
    return replace(session, world=replace(session.world, environment=environment))


def test_the_platform_that_runs_here_is_meant(session: Session) -> None:
    """Without a word, or as the stage `local`, with its names and addresses."""
    for stage in (None, "local"):
        operator = find_operator(session, stage)
        assert (operator.prefix, operator.state_table) == ("headrace-local", "headrace-local-state")
        assert operator.artifacts_bucket == "headrace-local-artifacts"
        assert operator.model_package_group("detection") == "headrace-local-detection"
        assert operator.client("sagemaker").meta.endpoint_url == "http://127.0.0.1:9"
        assert operator.client("lambda").meta.endpoint_url == "http://127.0.0.1:10"
        assert operator.client("sagemaker") is operator.client("sagemaker")
        assert "@" in operator.who


def test_a_stage_is_named_and_never_guessed(session: Session) -> None:
    """By option before variable; a profile, or an address, says whom callers ask and not whose account it is."""
    assert find_operator(session, "prod").prefix == "headrace-prod"
    assert find_operator(in_environment(session, HEADRACE_STAGE="dev"), None).prefix == "headrace-dev"
    assert find_operator(in_environment(session, HEADRACE_STAGE="dev"), "prod").prefix == "headrace-prod"
    assert find_operator(in_environment(session, HEADRACE_STAGE="dev"), "local").prefix == "headrace-local"
    with pytest.raises(UsageProblem, match="add --stage NAME"):
        find_operator(replace(session, profile="prod"), None)
    with pytest.raises(UsageProblem, match="add --stage NAME"):
        find_operator(in_environment(session, HEADRACE_URL="https://api.example.com"), None)


@pytest.mark.parametrize("stage", ["", "Prod", "a b", "-x", "1st", "x" * 21, "pröd"])
def test_what_cannot_be_a_stage_is_refused(session: Session, stage: str) -> None:
    """Before it becomes part of a name."""
    with pytest.raises(UsageProblem, match="A stage is a name"):
        find_operator(session, stage)


def test_no_platform_is_told_with_the_way_out(session: Session, tmp_path: Path) -> None:
    """Whether none ever ran, it was older, or its file points elsewhere."""
    write(tmp_path, {})
    with pytest.raises(Problem, match="started by an older version"):
        find_operator(session, None)
    write(tmp_path, {**VARIABLES, "AWS_ENDPOINT_URL": "https://evil.example.com"})
    with pytest.raises(Problem, match="points to another machine"):
        find_operator(session, None)
    (tmp_path / ".headrace" / "run" / "state.json").unlink()
    with pytest.raises(Problem, match="name a deployed stage with --stage"):
        find_operator(session, None)


def test_a_state_file_that_others_can_read_is_not_believed(session: Session, tmp_path: Path) -> None:
    """As for callers."""
    (tmp_path / ".headrace" / "run" / "state.json").chmod(0o644)
    with pytest.raises(Problem, match="open to other users"):
        find_operator(session, None)


def test_an_account_without_region_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In plain words, before anything is asked."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Problem, match="No region is known"):
        Operator("headrace-prod").client("sagemaker")


def test_the_region_of_the_environment_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """AWS_REGION, as the refusal above says; boto3 itself does not read it."""
    for name in ("AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_REGION", "eu-west-3")
    assert Operator("headrace-prod").client("sagemaker").meta.region_name == "eu-west-3"


def test_what_aws_refuses_the_state_store_is_told() -> None:
    """A credential or a policy is the operator's to mend; that a store failed is not enough to know."""
    from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

    from headrace_aws.state_table import StateTable  # noqa: PLC0415

    class NoAccount:
        """A client that finds no credentials."""

        def get_item(self, **_: object) -> None:
            """As botocore does."""
            raise NoCredentialsError

    table = StateTable("t", timeout_s=1.0, make_client=NoAccount)
    table.warm()
    with pytest.raises(Problem, match="No AWS credentials are found"), translated():
        table.get("a", "b")


def test_aws_refusals_are_one_line() -> None:
    """With the operation and AWS's own code, and nothing that a terminal would obey."""
    from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError  # noqa: PLC0415

    cases = (
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "no\x1b[31m"}}, "ListThings"), "AccessDenied: no"),
        (NoCredentialsError(), "No AWS credentials are found"),
        (EndpointConnectionError(endpoint_url="https://x.example.com/a?b"), "x.example.com cannot be reached"),
    )
    for error, said in cases:
        with pytest.raises(Problem, match=said) as problem, told_plainly():
            raise error
        assert str(problem.value).isprintable()
