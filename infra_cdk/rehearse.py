"""`make rehearse`: deploy the synthesised platform to an emulator that is not ours, and ask it something.

A second opinion on the templates: ministack creates the real resources of the platform stack from CloudFormation and
runs the functions; then a key is issued and requests go through its gateway, authorizer and function. It knows no
SageMaker, so the endpoints stack stays out: a request must come back down the ladder, or be refused with Retry-After,
and the stand-in is asked by itself as well.

The tools are not the project's own: `--install` fetches them into `.headrace/rehearse/`; without them it skips.
"""

from __future__ import annotations

import argparse
import base64
import json
import platform
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from infra_cdk.bytecode import RUNTIME, find_compiler
from infra_cdk.emulator import ACCOUNT, REGION, Tools, aws_environment, emulator
from infra_cdk.synth import node_problem

_DEPLOY_TIMEOUT_S = 600
_ANSWER_TIMEOUT_S = 60.0
_OK = 200
_UNAVAILABLE = 503


def _synthesise(root: Path, endpoints: Path, outdir: Path, *, compiler: Path, compiled_with: str) -> str:
    """Synthesise `dev` with layers for this machine, since here they run here; returns the platform stack's name."""
    from infra_cdk.app import build  # noqa: PLC0415 - importing it starts Node
    from infra_cdk.layers import Bundling  # noqa: PLC0415

    kept = root / ".headrace" / "bundles"
    built = build(
        root=root,
        endpoints=endpoints,
        bundling=Bundling(kept, compiler, compiled_with, platform.machine()),
        context={"stage": "dev", "account": ACCOUNT, "region": REGION},
        outdir=outdir,
        checked=True,
    )
    built.app.synth()
    name: str = built.platform.stack_name
    return name


def _adapt(template: Path, *, paths: dict[str, str]) -> list[str]:
    """Change `template` where the emulator is not AWS, and say what was left out.

    It reads alarms on one metric only, and ours on rates are expressions; it has no registry of models. It runs
    functions in place instead of in a file system of their own, so the `paths` that a function gets in its environment
    are this machine's.
    """
    document = json.loads(template.read_text(encoding="utf-8"))
    resources: dict[str, Any] = document["Resources"]
    left_out = [
        name
        for name, resource in resources.items()
        if (resource["Type"] == "AWS::CloudWatch::Alarm" and "Metrics" in resource["Properties"])
        or resource["Type"].startswith("AWS::SageMaker::")
    ]
    for name in left_out:
        del resources[name]
    for resource in resources.values():
        if resource["Type"] == "AWS::Lambda::Function":
            variables = resource["Properties"]["Environment"]["Variables"]
            variables.update({name: path for name, path in paths.items() if name in variables})
    template.write_text(json.dumps(document), encoding="utf-8")
    return left_out


def _deploy(tools: Tools, stack: str, outdir: Path, *, endpoint: str) -> dict[str, str]:
    """Deploy `stack` and return its outputs."""
    outputs = outdir.parent / "outputs.json"
    for words in (
        ["bootstrap", f"aws://{ACCOUNT}/{REGION}"],
        ["deploy", stack, "--exclusively", "--require-approval", "never", "--outputs-file", str(outputs)],
    ):
        subprocess.run(  # noqa: S603 - the deployer
            [tools.cdklocal, *words, "-a", outdir],
            env=aws_environment(endpoint),
            timeout=_DEPLOY_TIMEOUT_S,
            check=True,
        )
    found: dict[str, str] = json.loads(outputs.read_text(encoding="utf-8"))[stack]
    return found


def _ask(url: str, *, key: str | None = None, body: object = None) -> tuple[int, dict[str, str], bytes]:
    """One request: status, headers in small letters, body."""
    headers = {"content-type": "application/json"} | ({"x-api-key": key} if key else {})
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310 - a loopback address made here
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_TIMEOUT_S) as answer:  # noqa: S310
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {name.lower(): value for name, value in error.headers.items()}, error.read()


def _issue_key(root: Path, outputs: dict[str, str], *, endpoint: str) -> str:
    """A key for a made-up tenant, by the operator's own command."""
    environment = {
        **aws_environment(endpoint),
        "HEADRACE_STAGE": "dev",
        "HEADRACE_KEYS_TABLE": outputs["KeysTable"],
        "HEADRACE_PEPPER_SECRET": outputs["PepperSecret"],
    }
    done = subprocess.run(
        [sys.executable, "-m", "headrace_aws.keys", "issue", "--tenant", "rehearsal"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return next(word for word in done.stdout.split() if word.startswith("hr_"))


def _rules_answer(endpoint: str) -> bool:
    """Whether the fallback function, invoked by itself through its alias, answers by the rules of `sentiment`."""
    import boto3  # noqa: PLC0415 - a second of import that only a rehearsal pays

    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    identity, secret = (aws_environment(endpoint)[name] for name in names)
    functions = boto3.client(
        "lambda",
        endpoint_url=endpoint,
        region_name=REGION,
        aws_access_key_id=identity,
        aws_secret_access_key=secret,
    )
    request = {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}]}
    event = {
        "endpoint": "sentiment",
        "kind": "rules",
        "timeout_ms": 20_000,
        "content_type": "application/json",
        "body": base64.b64encode(json.dumps(request).encode()).decode(),
    }
    done = functions.invoke(FunctionName="headrace-dev-fallback", Qualifier="live", Payload=json.dumps(event).encode())
    answer = json.loads(done["Payload"].read())
    return not done.get("FunctionError") and b"positive" in base64.b64decode(answer.get("body", ""))


def _drive(root: Path, outputs: dict[str, str], *, endpoint: str) -> list[str]:
    """Ask what a caller would ask; returns what was not as it should be."""
    api = outputs["Url"].split("//")[1].split(".")[0]
    base = f"{endpoint}/restapis/{api}/live/_user_request_"
    key = _issue_key(root, outputs, endpoint=endpoint)
    problems = []
    for says, path, sent_key, expected in (
        ("public path", "/healthz", None, 200),
        ("no key", "/v1/models", None, 401),
        ("a key", "/v1/models", key, 200),
    ):
        status, _, answer = _ask(f"{base}{path}", key=sent_key)
        sys.stdout.write(f"  {says}: {path} -> {status} {answer[:100]!r}\n")
        if status != expected:
            problems.append(f"{path} with {says} gave {status}, not {expected}")
    ruled = _rules_answer(endpoint)
    sys.stdout.write(f"  the stand-in by itself: {'answers by rules' if ruled else 'does not answer'}\n")
    if not ruled:
        problems.append("the fallback function did not answer by rules")
    status, headers, answer = _ask(f"{base}/v1/classifications", key=key, body={"input": ["What a lovely day."]})
    served_by = headers.get("x-headrace-served-by")
    sys.stdout.write(f"  no SageMaker: /v1/classifications -> {status} by {served_by} {answer[:100]!r}\n")
    # The emulator starts a function anew after each failure, slower than a rung waits: then 503 is the honest answer.
    if status != _OK and not (status == _UNAVAILABLE and headers.get("retry-after")):
        problems.append(f"/v1/classifications gave {status}")
    return problems


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0 when the rehearsal went well or was skipped, 1 when it did not go well."""
    parser = argparse.ArgumentParser(prog="python -m infra_cdk.rehearse", description=__doc__)
    parser.add_argument("--install", action="store_true", help="fetch the emulator and the deployer first")
    parser.add_argument("--endpoints", type=Path, help="the folder of declarations (default: endpoints)")
    options = parser.parse_args(arguments)
    root = Path(__file__).resolve().parent.parent
    tools = Tools(root / ".headrace" / "rehearse")
    found = find_compiler(home=Path.home())
    reason = node_problem()
    if reason is None and found is None:
        reason = f"no Python {RUNTIME} here, in which the emulator would run the functions"
    if reason is None and found is not None and options.install and tools.missing():
        tools.install(found[0])
    if reason is None and tools.missing():
        reason = f"{' and '.join(tools.missing())} missing: run `python -m infra_cdk.rehearse --install`"
    if reason is not None or found is None:
        sys.stdout.write(f"rehearsal skipped: {reason}\n")
        return 0
    outdir = tools.folder / "cdk.out"
    shutil.rmtree(outdir, ignore_errors=True)
    endpoints: Path = options.endpoints or root / "endpoints"
    stack = _synthesise(root, endpoints.resolve(), outdir, compiler=found[0], compiled_with=found[1])
    (catalog,) = outdir.glob("asset.*/headrace/catalog.json")
    paths = {"HEADRACE_CATALOG": str(catalog), "HEADRACE_RULES": str(endpoints.resolve())}
    left_out = _adapt(outdir / f"{stack}.template.json", paths=paths)
    sys.stdout.write(f"left out, since the emulator refuses them: {', '.join(left_out) or 'nothing'}\n")
    with emulator(tools, log=tools.folder / "ministack.log") as endpoint:
        outputs = _deploy(tools, stack, outdir, endpoint=endpoint)
        sys.stdout.write(f"{stack} deployed; asking it\n")
        problems = _drive(root, outputs, endpoint=endpoint)
    for problem in problems:
        sys.stderr.write(f"rehearsal: {problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
