"""``python -m infra_local.moto_server --port N --lambda-url URL --runtime-url URL --faults FILE``: moto, mended."""

import argparse
import logging
import os
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> None:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="python -m infra_local.moto_server", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--lambda-url", required=True, help="where the Lambda host's Invoke API is")
    parser.add_argument("--runtime-url", required=True, help="where the SageMaker runtime's API is")
    parser.add_argument("--faults", type=Path, required=True, help="where faults of DynamoDB are asked for")
    parser.add_argument("--hold-updates", action="store_true", help="UpdateEndpoint waits for the serving processes")
    options = parser.parse_args(arguments)

    # moto's state machines call back to this very server, and boto3 inside moto must never look for an account.
    os.environ["MOTO_PORT"] = str(options.port)
    os.environ |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": "us-east-1"}

    from moto.core.config import default_user_config  # noqa: PLC0415 - after the environment is set
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import run_simple  # noqa: PLC0415

    from infra_local.moto_faults import FaultyDynamoDB  # noqa: PLC0415
    from infra_local.moto_mends import invoke_over_http, mend_all  # noqa: PLC0415
    from infra_local.moto_registry import mend_registry  # noqa: PLC0415
    from infra_local.moto_transform import infer_over_http, mend_transform_jobs  # noqa: PLC0415
    from infra_local.moto_updates import Conclusions, mend_updates  # noqa: PLC0415
    from infra_local.moto_uploads import mend_uploads  # noqa: PLC0415

    default_user_config["stepfunctions"] = {"execute_state_machine": True}
    default_user_config["lambda"] = {"use_docker": False}
    mend_all(invoke_over_http(options.lambda_url))
    mend_uploads()
    mend_registry()
    mend_updates(held=options.hold_updates)
    mend_transform_jobs(infer_over_http(options.runtime_url))
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    sys.stdout.write(f"moto on port {options.port}\n")
    run_simple(
        "127.0.0.1",
        options.port,
        FaultyDynamoDB(Conclusions(DomainDispatcherApplication(create_backend_app)), file=options.faults),
        threaded=True,
        request_handler=MotoRequestHandler,
    )


if __name__ == "__main__":
    main()
