# Every command a person needs; each makes what it depends on, and does nothing twice.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# The newest interpreter from 3.11 on that really runs; override with `make PYTHON=…`.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' >/dev/null 2>&1 && { echo $$name; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN := $(VENV)/.run-installed
DEV := $(VENV)/.dev-installed

# A quarter of the suites' time is waiting for processes: three at a time keep two cores busy.
WORKERS ?= 3

export PYTHONDONTWRITEBYTECODE :=

.PHONY: help run models test slow unit lint format synth push rehearse sam fault replay status down docs bench lock clean

help: ## this list
	@grep -hE '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Headrace needs Python 3.11.4 or newer on the PATH (or make PYTHON=/path/to/python)."; exit 1; }
	@echo "Making the environment in $(VENV) with $$($(PYTHON) --version) …"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python could not make an environment: on Debian and Ubuntu install python3-venv."; exit 1; }

$(RUN): requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "Installing what the platform needs (a minute, once) …"
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@

$(DEV): requirements/dev.txt $(RUN)
	@echo "Installing what tests and synthesis need (a minute, once) …"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

models: $(RUN) ## build every model artifact (only what is missing or changed)
	@$(BIN)/python -m endpoints.building

run: models ## start the whole platform on this machine; PORT=… to choose the port
	@exec $(BIN)/python -m infra_local up $(if $(PORT),--port $(PORT))

status: $(RUN) ## what runs, and where
	@$(BIN)/python -m infra_local status

down: $(RUN) ## stop a platform that runs elsewhere
	@$(BIN)/python -m infra_local down

fault: $(RUN) ## break an endpoint on purpose: make fault ENDPOINT=sentiment KIND=hang [RATE=0.2] [VARIANT=v1], or KIND=clear
	@$(BIN)/python -m infra_local fault $(ENDPOINT) $(KIND) $(if $(RATE),--rate $(RATE)) $(if $(VARIANT),--variant $(VARIANT))

replay: $(RUN) ## send an event to its function: make replay EVENT=events/predict/classify.json
	@$(BIN)/python -m infra_local replay $(EVENT)

test: $(DEV) models ## every suite but e2e and slow
	@$(BIN)/python -m pytest tests --ignore=tests/e2e -m "not slow" -n $(WORKERS) $(ARGS)

slow: $(DEV) models ## what takes minutes: rollouts of the real detectors, fuzzing of the whole API
	@$(BIN)/python -m pytest tests --ignore=tests/e2e -m slow $(ARGS)

unit: $(DEV) ## the unit suite alone
	@$(BIN)/python -m pytest tests/unit $(ARGS)

lint: $(DEV) ## style, types, declarations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy functions layers/core/python endpoints headrace_cli infra_local infra_cdk benchmarks
	@$(BIN)/python -m headrace.declaration endpoints -o .headrace/catalog.json

format: $(DEV) ## rewrite to the house style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

synth: $(DEV) ## write the CloudFormation templates to cdk.out, without Docker and without an account
	@$(BIN)/python -m infra_cdk.synth

push: $(DEV) models ## put the built artifacts into a deployed stage's bucket: make push STAGE=dev
	@$(BIN)/python -m infra_cdk.push $(if $(STAGE),--stage $(STAGE))

rehearse: $(DEV) ## deploy the synthesised app to a local emulator and drive it, where one can be had
	@$(BIN)/python -m infra_cdk.rehearse

sam: $(DEV) ## let SAM judge and run the synthesised template, where SAM and Docker can be had
	@$(BIN)/python -m infra_cdk.sam

docs: $(DEV) ## write the pages that are generated: endpoints, OpenAPI
	@$(BIN)/python -m headrace.declaration endpoints -o .headrace/catalog.json --page docs/endpoints.md
	@$(BIN)/python -m functions.predict > docs/openapi.json

bench: $(DEV) models ## measure; results go to benchmarks/results
	@$(BIN)/python -m benchmarks

lock: $(DEV) ## pin every requirement again, with hashes and without addresses (needs uv on the PATH)
	@requirements/lock.sh

clean: ## remove what was built; downloads stay
	@rm -rf $(VENV) cdk.out .headrace/artifacts .headrace/run .headrace/logs .headrace/bundles
