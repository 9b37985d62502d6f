"""What `rollout_step` is told and answers, in the forms of CloudWatch and of the state machine."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from headrace.catalog import Catalog
from headrace.rollouts.controller import Stepped
from headrace_aws.rollout_events import FINISHED, Alarmed, alarmed, answer
from tests.unit.headrace.rollouts.rollout_world import ENDPOINT

EVENT: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "events" / "rollout_step" / "alarm.json").read_text(encoding="utf-8")
)
CATALOG = Catalog({ENDPOINT.name: ENDPOINT})


def event_of(*dimensions: dict[str, str], state: str = "ALARM") -> dict[str, Any]:
    """An alarm whose metrics have these dimensions."""
    event = deepcopy(EVENT)
    event["detail"]["state"]["value"] = state
    event["detail"]["configuration"]["metrics"] = [
        {"id": f"m{at}", "metricStat": {"metric": {"dimensions": each}}} for at, each in enumerate(dimensions)
    ]
    return event


def variant(endpoint: str, name: str) -> dict[str, str]:
    """The dimensions of a variant's metric."""
    return {"EndpointName": endpoint, "VariantName": name}


def test_an_alarm_of_one_version_is_that_versions() -> None:
    """By its variant, or by its inference component; the expression beside the metrics says nothing."""
    name = EVENT["detail"]["alarmName"]
    wanted = Alarmed(name, "detect", "v2")
    both = event_of(variant("p-detect", "v2"), {}, variant("p-detect", "v2"))
    assert alarmed(both, CATALOG, prefix="p") == wanted
    assert alarmed(event_of({"InferenceComponentName": "p-detect-v2"}), CATALOG, prefix="p") == wanted


@pytest.mark.parametrize(
    "event",
    [
        event_of(variant("p-detect", "v2"), state="OK"),
        event_of(variant("other-detect", "v2")),
        event_of(variant("p-detect", "v9")),
        event_of(variant("p-detect", "lite")),
        event_of(variant("p-detect", "v1"), variant("p-detect", "v2")),
        event_of(),
        {"source": "aws.cloudwatch"},
    ],
    ids=["ok", "other stage", "unknown", "stand-in", "of two", "of none", "empty"],
)
def test_any_other_alarm_is_nobodys(event: dict[str, Any]) -> None:
    """One that is over, of another stage, of no hosted version, or of several at once, rolls nothing back."""
    assert alarmed(event, CATALOG, prefix="p") is None


def test_answers_have_every_field_the_machine_reads() -> None:
    """The state machine's paths must exist in each answer, or the execution fails."""
    going = answer(Stepped("running", again=True, wait_s=15))
    over = answer(Stepped("finished", event={"rollout_id": "ro_1"}))
    assert going == {"state": "running", "again": True, "wait_s": 15, "event_type": "", "event": {}}
    assert over["event_type"] == FINISHED
    assert over["event"] == {"rollout_id": "ro_1"}
    definition = (Path(__file__).parents[3] / "infra_cdk" / "state_machines" / "rollout.asl.json").read_text()
    assert all(f"$.Payload.{name}" in definition for name in going if name != "state")
