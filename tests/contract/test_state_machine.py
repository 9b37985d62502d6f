"""Executions of batches: a name starts once, fake and Step Functions alike."""

import json
from collections.abc import Iterator

import pytest

from headrace.batches.ordering.offers import Machine as MachinePort
from headrace.errors import StoreUnavailable
from headrace.fakes.files import FakeMachine
from headrace_aws.clients import client
from headrace_aws.state_machine import Machine
from tests.contract.conftest import PatientCalls

DEFINITION = json.dumps({"StartAt": "Done", "States": {"Done": {"Type": "Succeed"}}})
NAME = "batch_AAAAAAAAAAAAAAAAAAAAAA"


@pytest.fixture(params=["fake", "step-functions"])
def machine(request: pytest.FixtureRequest) -> Iterator[MachinePort]:
    """Each implementation in turn."""
    if request.param == "fake":
        yield FakeMachine()
        return
    request.getfixturevalue("aws")
    yield Machine(make_machine(), calls=PatientCalls())


def make_machine() -> str:
    """A state machine that does nothing; its ARN."""
    states = client("stepfunctions", read_timeout_s=10.0)
    role = "arn:aws:iam::123456789012:role/states"
    arn: str = states.create_state_machine(name="batch", definition=DEFINITION, roleArn=role)["stateMachineArn"]
    return arn


def test_an_execution_starts_once(machine: MachinePort) -> None:
    """Starting it again is fine and starts nothing; another run of the same batch has another name."""
    for name in (NAME, NAME, f"{NAME}-r1"):
        machine.start(name, tenant="acme", batch_id=NAME)
    if isinstance(machine, FakeMachine):
        assert machine.started == {NAME: ("acme", NAME), f"{NAME}-r1": ("acme", NAME)}
        return
    states = client("stepfunctions", read_timeout_s=10.0)
    arn = states.list_state_machines()["stateMachines"][0]["stateMachineArn"]
    executions = states.list_executions(stateMachineArn=arn)["executions"]
    assert sorted(each["name"] for each in executions) == [NAME, f"{NAME}-r1"]
    told = states.describe_execution(executionArn=executions[0]["executionArn"])["input"]
    assert json.loads(told) == {"tenant": "acme", "batch_id": NAME}


@pytest.mark.usefixtures("aws")
def test_a_machine_that_is_not_there_is_unavailable() -> None:
    """Nothing was started, and the caller is told."""
    arn = "arn:aws:states:eu-west-1:123456789012:stateMachine:missing"
    with pytest.raises(StoreUnavailable):
        Machine(arn, calls=PatientCalls()).start(NAME, tenant="acme", batch_id=NAME)
    fake = FakeMachine(down=True)
    with pytest.raises(StoreUnavailable):
        fake.start(NAME, tenant="acme", batch_id=NAME)
