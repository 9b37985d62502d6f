"""The account that an operator's command works on: found once, its clients made when they are asked for.

Callers' commands need an API key and a URL; an operator's need AWS credentials and a stage. Which account is meant:

    --stage local               the platform that runs from this folder
    --stage NAME                that stage, in the account and region of boto3's own chain (profile, variables, role)
    HEADRACE_STAGE              the same, where no --stage is given
    otherwise                   the platform that runs from this folder; a deployed stage is never guessed

boto3 is imported here and nowhere else in the command line, when the first client is made: it comes with the extra
`operator`, and callers do without it.
"""

import getpass
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from headrace_cli.local import find_local, is_loopback
from headrace_cli.problems import Problem, UsageProblem, plain
from headrace_cli.settings import LOCAL, URL_VARIABLE
from headrace_cli.world import Session

STAGE_VARIABLE = "HEADRACE_STAGE"
STAGE_CHARS_MAX = 20
"""A SageMaker model package group has 63 characters at most: stage and endpoint (32) must fit in."""
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
ATTEMPTS_MAX = 3
_ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL"


@dataclass(frozen=True, slots=True)
class Operator:
    """One stage in one account.

    Attributes:
        prefix: How the names of everything in it begin.
        local: Variables that point boto3 at a local platform; empty for a real account.
    """

    prefix: str
    local: Mapping[str, str] = field(default_factory=dict, repr=False)
    _kept: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def state_table(self) -> str:
        """The table that functions share."""
        return f"{self.prefix}-state"

    @property
    def artifacts_bucket(self) -> str:
        """Where artifacts lie by digest. Raises Problem."""
        if self.local:
            return f"{self.prefix}-artifacts"
        return str(self._once("bucket", lambda: self._output("ArtifactsBucket")))

    @property
    def rollout_machine(self) -> str:
        """The ARN of the state machine that runs rollouts. Raises Problem."""
        account, region = self._identity()["Account"], self.client("stepfunctions").meta.region_name
        return f"arn:aws:states:{region}:{account}:stateMachine:{self.prefix}-rollout"

    @property
    def who(self) -> str:
        """Who does this, for the record: the caller's ARN, or user@host on a local platform. Raises Problem."""
        return f"{getpass.getuser()}@{socket.gethostname()}" if self.local else str(self._identity()["Arn"])

    def model_package_group(self, endpoint: str) -> str:
        """The group of an endpoint's registered versions."""
        return f"{self.prefix}-{endpoint}"

    def client(self, service: str) -> Any:
        """A boto3 client of the account, one per service; safe to ask for from several threads. Raises Problem."""
        return self._once(f"client {service}", lambda: self._make_client(service))

    def _once(self, name: str, make: Any) -> Any:
        with self._lock:
            if name not in self._kept:
                self._kept[name] = make()
            return self._kept[name]

    def _identity(self) -> dict[str, Any]:
        def ask() -> Any:
            with told_plainly():
                return self.client("sts").get_caller_identity()

        identity: dict[str, Any] = self._once("identity", ask)
        return identity

    def _output(self, name: str) -> str:
        stack = f"{self.prefix}-platform"
        with told_plainly():
            described = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        for output in described.get("Outputs", []):
            if output["OutputKey"] == name:
                return str(output["OutputValue"])
        raise Problem(f"Stack {stack} has no output {name}: deploy this version of the platform first.")

    def _make_client(self, service: str) -> Any:
        try:
            from boto3.session import Session as AwsSession
            from botocore.config import Config
        except ImportError as error:
            raise Problem("This command needs boto3: pip install 'headrace[operator]'.") from error
        config: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_S,
            "read_timeout": READ_TIMEOUT_S,
            "tcp_keepalive": True,
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS_MAX},
        }
        with told_plainly():
            if not self.local:
                # boto3 reads AWS_DEFAULT_REGION alone; every other tool of AWS takes this one first.
                session = self._once("session", lambda: AwsSession(region_name=os.environ.get("AWS_REGION") or None))
                if session.region_name is None:
                    raise Problem("No region is known: set AWS_REGION, or the region of your AWS profile.")
                return session.client(service, config=Config(**config))
            session = self._once(
                "session",
                lambda: AwsSession(
                    aws_access_key_id=self.local["AWS_ACCESS_KEY_ID"],
                    aws_secret_access_key=self.local["AWS_SECRET_ACCESS_KEY"],
                    region_name=self.local["AWS_REGION"],
                ),
            )
            own = f"{_ENDPOINT_VARIABLE}_{service.upper().replace('-', '_')}"
            return session.client(
                service,
                endpoint_url=self.local.get(own, self.local[_ENDPOINT_VARIABLE]),
                config=Config(**config, s3={"addressing_style": "path"}),
            )


def find_operator(session: Session, stage: str | None) -> Operator:
    """The account that is meant; see above. Nothing is asked of it yet.

    Args:
        session: This run of the command line.
        stage: What --stage names.

    Raises:
        Problem: no platform runs here and no stage is named, or its state file cannot be trusted.
        UsageProblem: the stage cannot be one, or a profile is named and no stage.
    """
    environment = session.world.environment
    named = stage if stage is not None else environment.get(STAGE_VARIABLE) or None
    if named is not None and named != LOCAL:
        return Operator(f"headrace-{_checked(named)}")
    if named is None and (other := session.profile if session.profile != LOCAL else None):
        raise UsageProblem(f"Profile {plain(other)!r} says where callers ask; add --stage NAME: whose account it is.")
    if named is None and session.profile is None and environment.get(URL_VARIABLE):
        raise UsageProblem(f"{URL_VARIABLE} says where callers ask; add --stage NAME: whose account it is.")
    try:
        variables = find_local(session.world.here).environment
    except Problem as problem:
        raise Problem(
            f"{problem}".replace("choose a profile with --profile", "name a deployed stage with --stage")
        ) from None
    wanted = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", _ENDPOINT_VARIABLE)
    if not all(variables.get(name) for name in wanted):
        raise Problem("The platform that runs here was started by an older version: end it and `make run` again.")
    if not all(is_loopback(url) for name, url in variables.items() if name.startswith(_ENDPOINT_VARIABLE)):
        raise Problem("The state file of the platform here points to another machine; it is not used.")
    return Operator(f"headrace-{LOCAL}", local=variables)


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turns what AWS and boto3 refuse into one line. Refusals that mean something are the caller's to catch inside.

    Raises:
        Problem: in place of a botocore error.
    """
    from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, NoCredentialsError

    try:
        yield
    except NoCredentialsError as error:
        raise Problem(
            "No AWS credentials are found: set AWS_PROFILE, or sign in as you do for the aws command."
        ) from error
    except EndpointConnectionError as error:
        host = urlsplit(str(error.kwargs.get("endpoint_url", ""))).hostname
        raise Problem(f"{plain(host or 'AWS')} cannot be reached.") from error
    except ClientError as error:
        code, said = error.response["Error"].get("Code", "Unknown"), error.response["Error"].get("Message", "")
        raise Problem(f"AWS refused {error.operation_name}: {plain(code)}: {plain(said)}") from error
    except BotoCoreError as error:
        raise Problem(f"AWS could not be asked: {plain(error)}") from error


def _checked(stage: str) -> str:
    fit = stage.isascii() and stage.replace("-", "").isalnum() and stage == stage.lower() and stage[0].isalpha()
    if not fit or len(stage) > STAGE_CHARS_MAX:
        raise UsageProblem(f"A stage is a name like dev or prod, at most {STAGE_CHARS_MAX} characters.")
    return stage
