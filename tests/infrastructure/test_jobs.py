"""The job flow as deployed: who may do what, when a message comes again, and what is watched."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.jobs.states import AGE_MAX_S, KEPT_S, RECEIVES_MAX, RUN_MAX_S
from infra_cdk.stages import STAGES
from tests.infrastructure.conftest import Synthesised

DAY_S = 86_400


def _queues(synthesised: Synthesised) -> tuple[dict[str, Any], dict[str, Any]]:
    """The queue of jobs, and its dead letters."""
    named = {each["QueueName"].partition("-")[2].partition("-")[2]: each for each in _all_queues(synthesised)}
    return named["jobs"], named["jobs-dead"]


def _all_queues(synthesised: Synthesised) -> list[dict[str, Any]]:
    return synthesised.properties("AWS::SQS::Queue")


def _statements(synthesised: Synthesised, role: str) -> list[dict[str, Any]]:
    return [
        statement
        for policy in synthesised.properties("AWS::IAM::Policy")
        if any(role in each["Ref"] for each in policy["Roles"])
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def test_queues_are_encrypted_and_take_tls_only(synthesised: Synthesised) -> None:
    """All have server-side encryption and a policy that denies plain HTTP; what it allows is one rule's events."""
    assert all(each["SqsManagedSseEnabled"] is True for each in _all_queues(synthesised))
    policies = [each["PolicyDocument"]["Statement"] for each in synthesised.properties("AWS::SQS::QueuePolicy")]
    assert len(policies) == len(_all_queues(synthesised)) == 6
    for denied, *allowed in policies:
        assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
        for statement in allowed:
            assert statement["Principal"] == {"Service": "events.amazonaws.com"}
            assert statement["Action"] == "sqs:SendMessage"
            assert list(statement["Condition"]["ArnEquals"]) == ["aws:SourceArn"]


def test_a_message_outlives_its_job_and_comes_again_when_a_runner_died(synthesised: Synthesised) -> None:
    """Invisible for six times the function's timeout, kept longer than a job may wait, dead after bounded receives."""
    queue, dead = _queues(synthesised)
    assert queue["VisibilityTimeout"] == 6 * RUN_MAX_S
    assert AGE_MAX_S < queue["MessageRetentionPeriod"] < dead["MessageRetentionPeriod"]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == RECEIVES_MAX


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_the_mapping_reports_single_items_and_is_bounded(stages: dict[str, Synthesised], stage: str) -> None:
    """Partial batch responses, at most as many at once as the function has concurrency, through the alias."""
    (mapping,) = [
        each
        for each in stages[stage].properties("AWS::Lambda::EventSourceMapping")
        if "JobRun" in json.dumps(each["FunctionName"])
    ]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["ScalingConfig"]["MaximumConcurrency"] == (
        STAGES[stage].functions["job_run"].reserved_concurrency or 2
    )
    assert "Live" in json.dumps(mapping["FunctionName"])
    assert STAGES[stage].functions["job_run"].timeout_s == RUN_MAX_S


def test_job_run_has_a_way_to_predict_and_to_nothing_behind_it(synthesised: Synthesised) -> None:
    """It keeps single records and objects, takes and sends messages, and invokes one alias: no endpoint, no key."""
    statements = _statements(synthesised, "JobRun")
    actions = {
        action
        for each in statements
        for action in (each["Action"] if isinstance(each["Action"], list) else [each["Action"]])
        if not action.startswith(("logs:", "xray:"))
    }
    assert actions == {
        *("dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"),
        *("s3:GetObject", "s3:PutObject", "kms:Decrypt", "kms:GenerateDataKey", "sqs:SendMessage"),
        *("lambda:InvokeFunction", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"),
        *("sqs:GetQueueAttributes", "sqs:GetQueueUrl"),
    }
    (invoke,) = [each for each in statements if each["Action"] == "lambda:InvokeFunction"]
    assert "PredictLive" in invoke["Resource"]["Ref"]


def test_predict_sends_and_never_takes_messages(synthesised: Synthesised) -> None:
    """Of the queue it may do one thing, and objects of jobs lie apart from what callers upload."""
    statements = _statements(synthesised, "Predict")
    sqs = [each["Action"] for each in statements if "sqs:" in json.dumps(each["Action"])]
    assert set(sqs) == {"sqs:SendMessage"}
    writable = [json.dumps(each["Resource"]) for each in statements if "s3:PutObject" in each["Action"]]
    assert len(writable) == 3
    for each in writable:
        assert "StorageJobs" in each or ("StorageInputs" in each and each.endswith('/tenants/*/files/*"]]}'))


def test_requests_and_answers_go_with_their_records(synthesised: Synthesised) -> None:
    """The bucket of jobs forgets after as many days as a record is kept, old versions too."""
    (bucket,) = [
        each for name, each in synthesised.of_type("AWS::S3::Bucket").items() if name.startswith("StorageJobs")
    ]
    rules = [each for each in bucket["Properties"]["LifecycleConfiguration"]["Rules"] if "Prefix" not in each]
    assert [each["ExpirationInDays"] * DAY_S for each in rules if "ExpirationInDays" in each] == [KEPT_S]
    days = [
        each["NoncurrentVersionExpiration"]["NoncurrentDays"] for each in rules if "NoncurrentVersionExpiration" in each
    ]
    assert days == [1]


def test_waiting_jobs_and_dead_letters_raise_alarms(synthesised: Synthesised) -> None:
    """The oldest message's age is watched, and a single dead letter is one too many."""
    found = {
        each["MetricName"]: each["Threshold"]
        for each in synthesised.properties("AWS::CloudWatch::Alarm")
        if each.get("Namespace") == "AWS/SQS" and '"Jobs' in json.dumps(each["Dimensions"])
    }
    assert found == {"ApproximateAgeOfOldestMessage": 900, "ApproximateNumberOfMessagesVisible": 0}
