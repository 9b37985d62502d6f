"""Where moto falls short of AWS and this platform would notice: each mend at one named hook, with its reason.

Every mend has a contract test in ``tests/contract/test_moto_mends.py``, so that a new moto which moves a hook, or no
longer needs one, is found out there.
"""

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import requests
from moto.awslambda.exceptions import LambdaClientError
from moto.awslambda.models import LambdaFunction
from moto.awslambda_simple.models import LambdaSimpleBackend
from moto.core.responses import ActionResult
from moto.dynamodb.comparisons import FuncSize
from moto.dynamodb.responses import DynamoHandler
from moto.events.models import Rule
from moto.sagemaker.models import FakeEndpoint, FakeEndpointConfig

_INVOKE_TIMEOUT_S = 910
_TOKENS_KEPT_MAX = 10_000
_TASK_SERVICES = ("lambda", "states")

Invoke = Callable[[str, bytes, str], tuple[bytes, str | None]]
"""(function name, event, invocation type) → (answer, function error). Raises InvocationRefusedError."""


class InvocationRefusedError(Exception):
    """The Lambda host does not run the event: there is no such function, or too many wait.

    Attributes:
        status: The HTTP status of the Invoke API.
        code: The error's name in the Invoke API.
    """

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


def invoke_over_http(url: str) -> Invoke:
    """Makes the way to our Lambda host's Invoke API.

    Args:
        url: The Lambda host's base URL.
    """

    def invoke(name: str, payload: bytes, invocation_type: str) -> tuple[bytes, str | None]:
        answer = requests.post(
            f"{url}/2015-03-31/functions/{name}/invocations",
            data=payload,
            headers={"X-Amz-Invocation-Type": invocation_type},
            timeout=_INVOKE_TIMEOUT_S,
        )
        if not answer.ok:
            raise InvocationRefusedError(answer.status_code, answer.headers.get("x-amzn-ErrorType", "ServiceException"))
        return answer.content, answer.headers.get("X-Amz-Function-Error")

    return invoke


def mend_all(invoke: Invoke) -> None:
    """Puts every mend in place; once per process, before moto serves.

    Args:
        invoke: How to reach the Lambda host.
    """
    make_dynamodb_atomic()
    give_absent_attributes_no_size()
    repeat_no_transaction()
    send_lambda_invocations(invoke)
    send_event_targets(invoke)
    keep_zero_weights()
    accept_every_instance_type()
    name_executions()


def mend(owner: type, hook: str, replacement: Callable[..., Any]) -> None:
    """Puts a replacement at a hook; types do not follow, moto's are its own."""
    setattr(owner, hook, replacement)


def make_dynamodb_atomic() -> None:
    """One DynamoDB action at a time.

    moto reads, changes and writes an item without a lock, so that concurrent ``ADD n 1`` lose counts (388 of 400 were
    kept) and conditional writes let too many through. On AWS each action on an item is atomic.
    """
    lock = threading.RLock()
    original = DynamoHandler.call_action

    def call_action(self: DynamoHandler) -> Any:
        with lock:
            return original(self)

    mend(DynamoHandler, "call_action", call_action)


def give_absent_attributes_no_size() -> None:
    """A condition on ``size(a)`` does not hold where there is no ``a``.

    moto raises ValueError, which reaches the caller as a 500. On AWS the condition fails.
    """
    original = FuncSize.expr

    def expr(self: FuncSize, item: Any) -> int | None:
        return None if self.attr.get_type(item) is None else original(self, item)

    mend(FuncSize, "expr", expr)


def repeat_no_transaction() -> None:
    """A transaction sent again under the same ``ClientRequestToken`` is done once and succeeds again.

    moto does it again, so that a call repeated after a lost answer would count twice. On AWS the token holds for ten
    minutes (API reference, TransactWriteItems); here the last ones are kept. Another content under the same token is
    refused there, and not told apart here.
    """
    done: OrderedDict[tuple[str, str], None] = OrderedDict()
    original = DynamoHandler.transact_write_items

    def transact_write_items(self: DynamoHandler) -> Any:
        token = self.body.get("ClientRequestToken")
        key = (self.current_account, token)
        if token and key in done:
            return ActionResult({"ConsumedCapacity": [], "ItemCollectionMetrics": {}})
        answer = original(self)
        if token:
            done[key] = None
            if len(done) > _TOKENS_KEPT_MAX:
                done.popitem(last=False)
        return answer

    mend(DynamoHandler, "transact_write_items", transact_write_items)


def send_lambda_invocations(invoke: Invoke) -> None:
    """Functions run on our Lambda host, known to moto or not.

    moto would run them in Docker, or answer a canned text. Both of its ways in lead to the host: the Invoke API and
    Step Functions (``LambdaSimpleBackend.invoke``), S3 notifications and event source mappings
    (``LambdaFunction.invoke``). What the host refuses is refused under the same name, so that a state machine that
    meets a throttle retries it as such.
    """

    def pass_on(name: str, body: Any, headers: Any, response_headers: Any) -> bytes:
        payload = body.encode() if isinstance(body, str) else (body or b"{}")
        kind = (headers or {}).get("x-amz-invocation-type") or (headers or {}).get("X-Amz-Invocation-Type")
        try:
            answer, error = invoke(name, payload, kind or "RequestResponse")
        except InvocationRefusedError as refused:
            refusal = LambdaClientError(refused.code, "The function was not invoked.")
            refusal.code = refused.status
            raise refusal from None
        if error:
            response_headers["x-amz-function-error"] = error
        return answer

    def backend_invoke(  # noqa: PLR0917 - moto's signature
        self: LambdaSimpleBackend,
        function_name: str,
        qualifier: str | None,
        body: Any,
        headers: Any,
        response_headers: Any,
    ) -> bytes:
        del self, qualifier
        return pass_on(function_name, body, headers, response_headers)

    def function_invoke(self: LambdaFunction, body: Any, request_headers: Any, response_headers: Any) -> bytes:
        return pass_on(self.function_name, body, request_headers, response_headers)

    mend(LambdaSimpleBackend, "invoke", backend_invoke)
    mend(LambdaFunction, "invoke", function_invoke)


def send_event_targets(invoke: Invoke) -> None:
    """EventBridge rules reach Lambda functions and state machines.

    moto raises NotImplementedError for both, which from S3's events is swallowed: nothing would ever start.
    """
    original = Rule.send_to_targets

    def send_to_targets(self: Rule, original_event: Any, transform_input: bool = True) -> None:  # noqa: FBT001, FBT002 - moto's signature
        if not self.event_pattern.matches_event(original_event):
            return
        ours = [t for t in self.targets if t["Arn"].split(":")[2] in _TASK_SERVICES]
        for target in ours:
            _start_target(target, original_event, invoke)
        kept, self.targets = self.targets, [t for t in self.targets if t not in ours]
        try:
            original(self, original_event, transform_input)
        finally:
            self.targets = kept

    mend(Rule, "send_to_targets", send_to_targets)


def _start_target(target: dict[str, Any], event: Any, invoke: Invoke) -> None:
    import json  # noqa: PLC0415 - moto's own modules are costly and only needed when an event fires

    from moto.core.utils import iso_8601_datetime_without_milliseconds, utcfromtimestamp  # noqa: PLC0415
    from moto.events.utils import EventTemplateParser  # noqa: PLC0415
    from moto.stepfunctions.parser.models import stepfunctions_parser_backends  # noqa: PLC0415

    transformer = target.get("InputTransformer", {})
    made: Any = dict(event)
    if not isinstance(made.get("time"), str) and "time" in made:
        made["time"] = iso_8601_datetime_without_milliseconds(utcfromtimestamp(int(float(made["time"]))))
    if transformer:
        made = EventTemplateParser.parse(
            input_template=transformer.get("InputTemplate"),
            input_paths_map=transformer.get("InputPathsMap", {}),
            event=made,
        )
    text = target.get("Input") or json.dumps(made)
    _, _, service, region, account, *rest = target["Arn"].split(":")
    if service == "lambda":
        with suppress(InvocationRefusedError):  # the target's trouble is never that of whoever put the event
            invoke(rest[1], text.encode(), "Event")
        return
    stepfunctions_parser_backends[account][region].start_execution(target["Arn"], str(uuid.uuid4()), text)


def keep_zero_weights() -> None:
    """A variant with weight 0 keeps its weight.

    moto drops a weight of 0 as if it had not been given; on AWS a variant with weight 0 gets no traffic but that which
    names it, and a missing weight means 1.
    """
    original = FakeEndpoint._process_production_variants  # noqa: SLF001 - the hook

    def process(self: FakeEndpoint, production_variants: list[dict[str, Any]]) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = original(self, production_variants)
        for variant, given in zip(made, production_variants, strict=True):
            weight = given.get("InitialVariantWeight", 1.0)
            variant["CurrentWeight"] = variant["DesiredWeight"] = weight
        return made

    mend(FakeEndpoint, "_process_production_variants", process)


def accept_every_instance_type() -> None:
    """An endpoint configuration may name any ``ml.`` instance type.

    moto compares with a list that lacks the newer GPU families, and refuses what AWS would take.
    """
    original = FakeEndpointConfig.validate_instance_type

    def validate(self: FakeEndpointConfig, instance_type: str) -> None:
        if not instance_type.startswith("ml."):
            original(self, instance_type)

    mend(FakeEndpointConfig, "validate_instance_type", validate)


def name_executions() -> None:
    """An execution started without a name gets one of its own.

    moto's engine calls each of them ``None``, so that the second is taken for a repetition of the first and never runs.
    """
    from moto.stepfunctions.parser.models import StepFunctionsParserBackend  # noqa: PLC0415 - the engine is slow to import

    original = StepFunctionsParserBackend.start_execution

    def start_execution(
        self: StepFunctionsParserBackend, state_machine_arn: str, name: str | None = None, *rest: Any, **named: Any
    ) -> Any:
        return original(self, state_machine_arn, name or str(uuid.uuid4()), *rest, **named)

    mend(StepFunctionsParserBackend, "start_execution", start_execution)
