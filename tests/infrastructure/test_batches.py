"""Batches as deployed: what starts them, who may do what, and what is watched."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from headrace.batches import bounds, layout
from headrace.batches.states import AGE_MAX_S, KEPT_S
from headrace.notices import KEPT_S as NOTICE_KEPT_S
from headrace.notices import TRIES_MAX
from infra_cdk.batch_functions import OUTPUTS, TRANSFORM_JOBS, UPLOADED, UPLOADS
from infra_cdk.batches import DEFINITION, MAP_LABEL, SHARD_LISTS
from infra_cdk.endpoints_stack import TRANSFORM_ANSWERS, TRANSFORM_REQUESTS
from infra_cdk.stages import STAGES
from infra_cdk.storage import DAY_S
from tests.infrastructure.conftest import Synthesised

EVERYWHERE = {
    *("logs:CreateLogStream", "logs:PutLogEvents", "xray:PutTraceSegments", "xray:PutTelemetryRecords"),
}
RECORDS = {"dynamodb:GetItem", "dynamodb:PutItem"}
STATE = {f"dynamodb:{each}" for each in ("BatchGetItem", "UpdateItem", "DeleteItem", "Query")} | RECORDS
READ = {"s3:GetObject", "s3:GetObjectVersion", "kms:Decrypt"}
WRITE = {
    "s3:GetObject",
    "s3:PutObject",
    "s3:AbortMultipartUpload",
    "s3:ListBucket",
    "kms:Decrypt",
    "kms:GenerateDataKey",
}
MAY = {
    "BatchStart": {
        *(*RECORDS, *READ, "dynamodb:BatchGetItem", "states:StartExecution"),
        *("sqs:SendMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"),
    },
    "BatchPlan": {
        *(*RECORDS, *READ, *WRITE, "dynamodb:Query"),
        *("sagemaker:DescribeEndpoint", "sagemaker:DescribeEndpointConfig"),
    },
    "BatchScore": {*STATE, *READ, *WRITE, "sagemaker:InvokeEndpoint", "lambda:InvokeFunction"},
    "BatchFinish": {*RECORDS, *WRITE, "dynamodb:Query", "sqs:SendMessage"},
    "Notify": {
        *("dynamodb:GetItem", "secretsmanager:GetSecretValue", "kms:Decrypt", "sqs:ReceiveMessage"),
        *("sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"),
    },
}
BATCH = ("acme", "batch_0123456789012345678901")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _statements(synthesised: Synthesised, role: str) -> list[dict[str, Any]]:
    return [
        statement
        for policy in synthesised.properties("AWS::IAM::Policy")
        if any(each["Ref"].startswith(role) for each in policy["Roles"])
        for statement in policy["PolicyDocument"]["Statement"]
    ]


def _function(synthesised: Synthesised, name: str) -> dict[str, Any]:
    (found,) = [
        each for each in synthesised.properties("AWS::Lambda::Function") if each["FunctionName"].endswith(f"-{name}")
    ]
    return found


def _machine(synthesised: Synthesised) -> dict[str, Any]:
    machines = synthesised.properties("AWS::StepFunctions::StateMachine")
    (machine,) = [each for each in machines if each["StateMachineName"].endswith("-batch")]
    return machine


def test_every_name_in_the_definition_is_bound(synthesised: Synthesised) -> None:
    """The file asks for exactly the names that the deployment puts in, and with them it is a definition without any."""
    text = DEFINITION.read_text(encoding="utf-8")
    given = _machine(synthesised)["DefinitionSubstitutions"]
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(given)
    for name, value in given.items():
        text = text.replace(f"${{{name}}}", value if isinstance(value, str) else "arn:aws:x")
    assert "${" not in text
    assert json.loads(text)["StartAt"] == "Plan"


def test_the_machine_runs_the_aliases_over_the_bucket_of_batches(synthesised: Synthesised) -> None:
    """Each step is a published version, and shards of a batch are scored at the same time up to the bound."""
    given = _machine(synthesised)["DefinitionSubstitutions"]
    for step in ("Plan", "Score", "Finish"):
        assert f"Batch{step}Live" in given[f"{step}Function"]["Ref"]
    assert given["BatchesBucket"]["Ref"].startswith("StorageBatches")
    assert given["ShardsAtOnce"] == str(bounds.SHARDS_AT_ONCE)


def test_a_batch_ends_after_its_day(synthesised: Synthesised) -> None:
    """The definition itself carries the timeout, for a machine made from a file takes none beside it."""
    definition = json.loads(DEFINITION.read_text(encoding="utf-8"))
    assert definition["TimeoutSeconds"] == bounds.EXECUTION_TIMEOUT_S
    # A job that hangs is ended while there is time to merge, and to tell; the execution's own end would do neither.
    assert definition["States"]["Transform"]["TimeoutSeconds"] + bounds.PLAN_TIMEOUT_S < AGE_MAX_S
    (shards,) = [state for state in definition["States"].values() if state["Type"] == "Map"]
    assert shards["Label"] == MAP_LABEL
    assert shards["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED"
    assert _machine(synthesised)["StateMachineType"] == "STANDARD"


def test_who_must_wait_for_a_turn_loses_nothing() -> None:
    """Reserved concurrency is shared by all batches: refusals for want of it are asked again for the whole day."""
    definition = json.loads(DEFINITION.read_text(encoding="utf-8"))
    states = definition["States"] | definition["States"]["Shards"]["ItemProcessor"]["States"]
    for step in ("Plan", "Score", "Finish"):
        first = states[step]["Retry"][0]
        assert first["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
        # Full jitter waits for half of the longest pause on average.
        assert first["MaxAttempts"] * first["MaxDelaySeconds"] / 2 >= bounds.EXECUTION_TIMEOUT_S


def test_the_log_says_what_happened_and_not_to_what(synthesised: Synthesised) -> None:
    """Every event is logged without its data, and traced; the log group expires."""
    machine = _machine(synthesised)
    assert machine["LoggingConfiguration"]["Level"] == "ALL"
    assert machine["LoggingConfiguration"]["IncludeExecutionData"] is False
    assert machine["TracingConfiguration"] == {"Enabled": True}
    (group,) = [
        each
        for each in synthesised.properties("AWS::Logs::LogGroup")
        if re.fullmatch(r"/aws/vendedlogs/states/.*-batch", each["LogGroupName"])
    ]
    assert group["RetentionInDays"] in {30, 90}


def test_the_machine_may_do_what_its_definition_says(synthesised: Synthesised) -> None:
    """Three aliases, lists of shards, its own executions, batches' transform jobs, one kind of event."""
    statements = _statements(synthesised, "BatchesRole")
    actions = {action for each in statements for action in _listed(each["Action"])}
    assert {action for action in actions if not action.startswith(("logs:", "xray:"))} == {
        *("lambda:InvokeFunction", "s3:GetObject", "kms:Decrypt", "events:PutEvents"),
        *("states:StartExecution", "states:DescribeExecution", "states:StopExecution"),
        *(f"sagemaker:{each}TransformJob" for each in ("Create", "Describe", "Stop")),
        *("sagemaker:AddTags", "sagemaker:ListTags", "events:PutTargets", "events:PutRule", "events:DescribeRule"),
    }
    for each in statements:
        text = json.dumps(each["Resource"])
        match _listed(each["Action"])[0]:
            case "lambda:InvokeFunction":
                assert sorted(one["Ref"].partition("Live")[0] for one in each["Resource"]) == [
                    f"BatchFunctionsBatch{step}" for step in ("Finish", "Plan", "Score")
                ]
            case "states:StartExecution" | "states:DescribeExecution":
                assert re.search(r":(stateMachine|execution):headrace-\w+-batch", text)
            case "sagemaker:AddTags":
                assert text.endswith(f'-{TRANSFORM_JOBS}"]]}}')
            case "events:PutEvents":
                assert each["Condition"] == {"StringEquals": {"events:source": "headrace"}}
            case action:
                assert text != '"*"' or action.startswith(("logs:", "xray:"))


@pytest.mark.parametrize("function", list(MAY))
def test_each_function_may_do_exactly_what_it_does(synthesised: Synthesised, function: str) -> None:
    """The actions of each role, whole: nothing was given along the way."""
    prefix = "NoticesNotify" if function == "Notify" else f"BatchFunctions{function}"
    statements = _statements(synthesised, prefix)
    assert {action for each in statements for action in _listed(each["Action"])} == MAY[function] | EVERYWHERE
    for each in statements:
        if each["Resource"] == "*":
            assert set(_listed(each["Action"])) <= EVERYWHERE


def test_batches_write_to_their_own_bucket_alone(synthesised: Synthesised) -> None:
    """No function of a batch can change an upload, a job or an artifact; a batch that starts writes no object."""
    for function in ("BatchStart", "BatchPlan", "BatchScore", "BatchFinish"):
        written = [
            json.dumps(each["Resource"])
            for each in _statements(synthesised, f"BatchFunctions{function}")
            if "s3:PutObject" in _listed(each["Action"])
        ]
        assert all("StorageBatches" in each and '/tenants/*"' in each for each in written)
        assert len(written) == (0 if function == "BatchStart" else 1)


def test_uploads_start_batches_at_least_once(synthesised: Synthesised) -> None:
    """One rule on the inputs bucket calls the alias, and what cannot be handed over or done is kept."""
    (rule,) = [
        each for each in synthesised.properties("AWS::Events::Rule") if each.get("Name", "").endswith("-batch-uploaded")
    ]
    detail = rule["EventPattern"]["detail"]
    assert rule["EventPattern"]["detail-type"] == ["Object Created"]
    assert detail["bucket"]["name"][0]["Ref"].startswith("StorageInputs")
    assert detail["object"]["key"] == [{"wildcard": UPLOADED}]
    (target,) = rule["Targets"]
    assert "BatchStartLive" in target["Arn"]["Ref"]
    dead = target["DeadLetterConfig"]["Arn"]["Fn::GetAtt"][0]
    assert dead.startswith("BatchesStartDeadLetters")
    assert target["RetryPolicy"]["MaximumRetryAttempts"] > 0
    (invoked,) = [
        each
        for each in synthesised.properties("AWS::Lambda::EventInvokeConfig")
        if "BatchStartLive" in json.dumps(each["Qualifier"])
    ]
    assert invoked["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0] == dead


@pytest.mark.parametrize(
    ("key", "starts"),
    [
        ("tenants/acme/incoming/sentiment/today.jsonl", True),
        ("tenants/acme/incoming/sentiment/2026/11/today.csv.gz", True),
        ("tenants/acme/files/file_0123456789012345678901", False),
        ("tenants/acme/images/a.jpg", False),
        ("incoming/sentiment/today.jsonl", False),
    ],
)
def test_only_what_comes_in_there_starts_a_batch(key: str, *, starts: bool) -> None:
    """The rule's pattern tells drops from other uploads, and where a caller may be let write starts nothing."""
    assert fnmatchcase(key, UPLOADED) is starts
    assert fnmatchcase(key, UPLOADS) is ("/files/" in key)


def test_buckets_tell_event_bridge_without_a_helper_function(synthesised: Synthesised) -> None:
    """The notification is the bucket's own property: no custom resource and no function of CDK's comes along."""
    told = {
        name.removeprefix("Storage")[:4]
        for name, resource in synthesised.of_type("AWS::S3::Bucket").items()
        if resource["Properties"].get("NotificationConfiguration")
        == {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}
    }
    assert told == {"Inpu", "Jobs"}
    assert not [
        each["Type"] for each in synthesised.platform["Resources"].values() if each["Type"].startswith("Custom::")
    ]


def test_batches_are_forgotten_with_their_records(synthesised: Synthesised) -> None:
    """All of a batch goes after the days that its record is kept, at once, for no version stays behind."""
    (bucket,) = [
        each["Properties"]
        for name, each in synthesised.of_type("AWS::S3::Bucket").items()
        if name.startswith("StorageBatches")
    ]
    rules = bucket["LifecycleConfiguration"]["Rules"]
    assert [each["ExpirationInDays"] * DAY_S for each in rules if "ExpirationInDays" in each] == [KEPT_S]
    assert "VersioningConfiguration" not in bucket
    assert [each["AbortIncompleteMultipartUpload"] for each in rules if "AbortIncompleteMultipartUpload" in each]


def test_a_file_outlives_its_batch_however_often_it_is_replaced(synthesised: Synthesised) -> None:
    """Uploads are versioned, and an old version stays for as long as a batch of it can be redriven."""
    (bucket,) = [
        each["Properties"]
        for name, each in synthesised.of_type("AWS::S3::Bucket").items()
        if name.startswith("StorageInputs")
    ]
    rules = bucket["LifecycleConfiguration"]["Rules"]
    days = [each["NoncurrentVersionExpiration"]["NoncurrentDays"] for each in rules if len(each) > 2]
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    assert days == [KEPT_S / DAY_S]


def test_patterns_name_the_keys_that_are_written() -> None:
    """What the machine and the models may read and write is where the layout says that it lies, and not beside it."""
    transform = layout.transform_prefix(*BATCH)
    for key in (layout.shards_key(*BATCH), layout.shards_key(*BATCH, redrives=3)):
        assert fnmatchcase(key, SHARD_LISTS)
    others = (layout.plan_key(*BATCH), layout.staged_key(*BATCH), layout.results_key(*BATCH), layout.report_key(*BATCH))
    assert not [key for key in others if fnmatchcase(key, SHARD_LISTS)]
    assert fnmatchcase(f"{transform}input/000001.jsonl", TRANSFORM_REQUESTS)
    assert fnmatchcase(f"{transform}output/000001.jsonl.out", TRANSFORM_ANSWERS)
    assert not fnmatchcase(f"{transform}map/000001.jsonl", TRANSFORM_REQUESTS)


def test_a_tenant_can_have_results_deleted_and_nothing_that_a_redrive_needs(synthesised: Synthesised) -> None:
    """`predict` deletes uploads and the two output files, no version and no part; uploads are signed under the key."""
    deleted = {
        json.dumps(resource).rpartition("/tenants/")[2].strip('"]}')
        for each in _statements(synthesised, "FunctionsPredict")
        if "s3:DeleteObject" in _listed(each["Action"])
        for resource in _listed(each["Resource"])
    }
    assert deleted == {"*/files/*", "*/batches/*/results.jsonl", "*/batches/*/errors.jsonl"}
    assert fnmatchcase(layout.results_key(*BATCH), OUTPUTS[0])
    assert fnmatchcase(layout.errors_key(*BATCH), OUTPUTS[1])
    told = _function(synthesised, "predict")["Environment"]["Variables"]
    assert told["HEADRACE_INPUTS_KEY"]["Fn::GetAtt"][0].startswith("StorageKey")


def test_models_reach_only_requests_and_answers_of_transform_jobs(synthesised: Synthesised) -> None:
    """SageMaker acts there in the model's name: it reads and lists requests, writes answers, and sees no result."""
    reached = {
        (action, json.dumps(each["Resource"]).rpartition("batches-arn")[2].strip('"}], '))
        for each in _statements(synthesised, "ModelRole")
        if "batches-arn" in json.dumps(each["Resource"])
        for action in _listed(each["Action"])
    }
    assert reached == {
        ("s3:GetObject", f"/{TRANSFORM_REQUESTS}"),
        ("s3:PutObject", f"/{TRANSFORM_ANSWERS}"),
        ("s3:AbortMultipartUpload", f"/{TRANSFORM_ANSWERS}"),
        ("s3:ListBucket", ""),
    }


def test_functions_have_the_time_that_the_core_reckons_with(synthesised: Synthesised) -> None:
    """Timeouts are those of `headrace.batches.bounds`, by which scorers know when to stop."""
    expected = {
        "batch_start": bounds.START_TIMEOUT_S,
        "batch_plan": bounds.PLAN_TIMEOUT_S,
        "batch_score": bounds.SCORE_TIMEOUT_S,
        "batch_finish": bounds.FINISH_TIMEOUT_S,
        "notify": bounds.NOTIFY_TIMEOUT_S,
    }
    assert {name: _function(synthesised, name)["Timeout"] for name in expected} == expected


def test_only_planning_reads_parquet(synthesised: Synthesised) -> None:
    """The heaviest layer hangs on one function, and every function of batches has catalog and core."""
    carrying = {
        each["FunctionName"].rpartition("-")[2]
        for each in synthesised.properties("AWS::Lambda::Function")
        if any("LayersParquet" in layer["Ref"] for layer in each["Layers"])
    }
    assert carrying == {"batch_plan"}
    for name in ("batch_start", "batch_plan", "batch_score", "batch_finish"):
        layers = json.dumps(_function(synthesised, name)["Layers"])
        assert "LayersCatalog" in layers
        assert "LayersCore" in layers


def test_batches_leave_the_account_its_concurrency() -> None:
    """What production reserves leaves Lambda's hundred unreserved, and scorers have less than online traffic."""
    functions = STAGES["prod"].functions
    reserved = {name: scale.reserved_concurrency or 0 for name, scale in functions.items()}
    assert sum(reserved.values()) <= 900
    assert bounds.SHARDS_AT_ONCE <= reserved["batch_score"] < reserved["predict"] / 2
    assert all(scale.reserved_concurrency is None for scale in STAGES["dev"].functions.values())


def test_notices_come_again_until_they_are_given_up(synthesised: Synthesised) -> None:
    """The queue delivers as often as the sender reckons with, and reports items of its own."""
    (queue,) = [each for each in synthesised.properties("AWS::SQS::Queue") if each["QueueName"].endswith("-notices")]
    assert queue["RedrivePolicy"]["maxReceiveCount"] == TRIES_MAX
    assert queue["MessageRetentionPeriod"] == NOTICE_KEPT_S
    assert queue["VisibilityTimeout"] >= 6 * bounds.NOTIFY_TIMEOUT_S
    (mapping,) = [
        each
        for each in synthesised.properties("AWS::Lambda::EventSourceMapping")
        if "NotifyLive" in json.dumps(each["FunctionName"])
    ]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]


def test_batches_that_end_badly_raise_alarms(synthesised: Synthesised) -> None:
    """One execution is enough; uploads that became nothing and notices that wait for half a day are seen as well."""
    alarms = synthesised.of_type("AWS::CloudWatch::Alarm")
    executions = {
        each["MetricName"]: (each["Threshold"], each["DatapointsToAlarm"])
        for each in (alarm["Properties"] for alarm in alarms.values())
        if each.get("Namespace") == "AWS/States"
    }
    assert executions == dict.fromkeys(("ExecutionsFailed", "ExecutionsTimedOut", "ExecutionThrottled"), (0, 1))
    names = "".join(alarms)
    assert all(part in names for part in ("BatchesStartDead", "NoticesOldest", "NoticesDead"))


def test_a_scorer_that_works_its_time_out_is_no_alarm(synthesised: Synthesised) -> None:
    """It ends just before its timeout, and waits for its turn, by design: its errors are what is watched."""
    alarms = {name[:20].lower() for name in synthesised.of_type("AWS::CloudWatch::Alarm")}
    assert any(name.startswith("batchscoreerrors") for name in alarms)
    assert not [name for name in alarms if name.startswith(("batchscoreduration", "batchscorethrottles"))]
    assert any(name.startswith("batchplanduration") for name in alarms)


def test_batches_have_a_page(synthesised: Synthesised) -> None:
    """One dashboard shows executions, functions and notices."""
    (board,) = [
        each
        for each in synthesised.properties("AWS::CloudWatch::Dashboard")
        if each["DashboardName"].endswith("-batches")
    ]
    drawn = json.dumps(board["DashboardBody"]).replace("\\", "")
    for metric in ("ExecutionsStarted", "ExecutionsFailed", "ConcurrentExecutions", "ApproximateAgeOfOldestMessage"):
        assert f'"{metric}"' in drawn


def test_a_deployment_says_where_batches_are(synthesised: Synthesised) -> None:
    """The bucket and the state machine are outputs."""
    assert {"BatchesBucket", "StateMachine"} <= set(synthesised.platform["Outputs"])


def test_the_definition_is_in_the_repository_and_nowhere_else() -> None:
    """The same file runs on a laptop: infrastructure adds no state to it."""
    assert sorted(path.name for path in Path(DEFINITION).parent.iterdir()) == ["batch.asl.json", "rollout.asl.json"]
