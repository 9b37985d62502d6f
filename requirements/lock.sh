#!/usr/bin/env bash
# Pins every requirement for all supported Python versions, with hashes and without the address of any index.
set -euo pipefail
cd "$(dirname "$0")/.."
pin() { uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header "$@"; }
pin requirements/run.in -o requirements/run.txt
pin requirements/dev.in -o requirements/dev.txt
pin layers/vendor/requirements.in -c requirements/run.txt -o layers/vendor/requirements.txt
pin layers/onnx/requirements.in -c requirements/run.txt -o layers/onnx/requirements.txt
pin layers/parquet/requirements.in -c requirements/run.txt -o layers/parquet/requirements.txt
pin endpoints/serving/requirements.in -c requirements/run.txt -o endpoints/serving/requirements.txt
pin endpoints/serving/requirements-gpu.in -c requirements/run.txt -o endpoints/serving/requirements-gpu.txt
