# `make help` lists the targets. Everything is built into .venv and .mediabus; nothing outside the clone is changed but
# caches: those of pip, uv and Maven, and the stack's own (MEDIABUS_CACHE_DIR, by default ~/.cache/mediabus).

SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV := .venv
RUN := $(VENV)/bin/python
STACK := $(RUN) -m deploy.local
COMPILE := $(VENV)/bin/uv pip compile --no-header --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --overrides requirements-overrides.in
LOCKS := requirements-bootstrap.lock requirements.lock
PROJECTS := pyproject.toml $(wildcard services/*/pyproject.toml)
INSTALLED := $(VENV)/installed.sha256
SOURCES := deploy services shared tests

.PHONY: help setup lock demo test lint types unit screenshots chaos bench stack-start stack-stop stack-status stack-logs stack-psql \
	stack-wipe backup restore up down logs psql compose-check

help: ## list every target
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# Skipped while the locks, the projects and the interpreter are those that were installed.
setup: ## build .venv from the lock files, if it is not current
	@if $(RUN) -c '' 2>/dev/null && sha256sum --check --status $(INSTALLED) 2>/dev/null; then exit 0; fi; \
	$(MAKE) --no-print-directory install
	@$(RUN) -m deploy.local.face_models >/dev/null || echo "going on without faces: face-embedder and its tests need them" >&2
	@$(RUN) -m tests.browser.axe_core >/dev/null || echo "going on without axe-core: tests of pages look with it" >&2

.PHONY: install bootstrap
install: bootstrap
	@echo "installing $(VENV) from requirements.lock"
	@$(VENV)/bin/uv pip install --quiet --python $(RUN) --require-hashes --no-deps -r requirements.lock
	@$(VENV)/bin/uv pip install --quiet --python $(RUN) --no-deps --no-build-isolation \
		$(addprefix --editable ./,$(dir $(PROJECTS)))
	@sha256sum $(LOCKS) $(PROJECTS) > $(INSTALLED)

# The first Python that is new enough, unless PYTHON names one.
bootstrap:
	@if $(RUN) -c '' 2>/dev/null; then exit 0; fi; \
	for candidate in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
		if $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: Python 3.11 or newer is needed, and $(or $(PYTHON),python3) is not one: install it, or name" \
			"it with PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	if ! $$python -m venv --clear $(VENV); then \
		echo "error: $$python cannot make a virtual environment; on Debian or Ubuntu install python3-venv" >&2; \
		exit 1; \
	fi
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bootstrap.lock

lock: bootstrap ## resolve all dependencies anew and write every lock file
	$(COMPILE) requirements-bootstrap.in -o requirements-bootstrap.lock
	$(COMPILE) --no-emit-package mediabus-shared $(PROJECTS) requirements-dev.in -o requirements.lock
	@# Images get what their service needs and no more, in the very versions that were tested.
	@for project in $(wildcard services/*/pyproject.toml); do \
		$(COMPILE) --quiet --constraint requirements.lock --no-emit-package mediabus-shared $$project \
			-o $$(dirname $$project)/requirements.lock || exit 1; \
	done
	$(COMPILE) --quiet --constraint requirements.lock deploy/images/tools.in -o deploy/images/tools.lock

demo: setup ## start everything and upload pictures; stays up until Ctrl-C, or ends with the verdict after EXIT=1
	@EXIT=$(EXIT) $(RUN) -m deploy.demo

test: lint types ## run lint, types and all tests; what continuous integration runs
	$(RUN) -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

lint: setup ## check style and formatting
	$(VENV)/bin/ruff check $(SOURCES)
	$(VENV)/bin/ruff format --check $(SOURCES)

types: setup ## check types
	$(VENV)/bin/mypy $(SOURCES)

unit: setup ## run the tests that need no server
	$(RUN) -m pytest tests/unit tests/contract

screenshots: setup ## take a picture of every page, light, dark and on a phone, into screenshots/ or TO=
	@$(RUN) -m tests.browser.screenshots $(or $(TO),screenshots)

# A system for each seed, so that none pays for what others left.
chaos: setup ## change files at random while the system works: 20 rounds of 300 products, or FIRST_SEED=, SEEDS=, PRODUCTS=
	@first=$(or $(FIRST_SEED),1); last=$$((first + $(or $(SEEDS),20) - 1)); \
	for seed in $$(seq $$first $$last); do \
		MEDIABUS_CHAOS_FIRST_SEED=$$seed MEDIABUS_CHAOS_SEEDS=1 MEDIABUS_CHAOS_PRODUCTS=$(or $(PRODUCTS),300) \
			$(RUN) -m pytest tests/faults/test_consistency_chaos.py || exit 1; \
	done

.PHONY: chaos-clocks
chaos-clocks: setup ## kill clocks at the second in which something is due: 50 rounds, or ROUNDS=, SEED=
	MEDIABUS_CLOCK_ROUNDS=$(or $(ROUNDS),50) MEDIABUS_CLOCK_SEED=$(or $(SEED),1) \
		$(RUN) -m pytest tests/faults/test_killed_clocks.py

bench: setup ## measure, and print the figures beside their goals
	$(RUN) -m tests.bench

stack-start: setup ## start the embedded stack in the background
	@$(STACK) start

stack-stop: setup ## stop the embedded stack
	@$(STACK) stop

stack-status: setup ## show what of the embedded stack runs
	@$(STACK) status

stack-logs: setup ## follow the embedded stack's logs; NAMES="ingest-api kafka" for some
	@$(STACK) logs $(NAMES)

stack-psql: setup ## open psql on the embedded stack's database; SERVICE=ingest-api for its role
	@$(STACK) psql $(if $(SERVICE),--service $(SERVICE))

stack-wipe: setup ## remove the embedded stack's data, logs and passwords; asks first
	@$(STACK) wipe

backup: setup ## back up the running stack: records, bucket and disk, into backups/ or TO=; CONTENTS=no lists files only
	@$(RUN) -m deploy.backup $(if $(TO),--folder $(TO)) create $(if $(filter no,$(CONTENTS)),--without-contents)

restore: setup ## restore the newest backup, or NAME=, into an empty stack; KEEP_FILES=1 replaces only the records
	@$(RUN) -m deploy.backup $(if $(FROM),--folder $(FROM)) restore $(NAME) $(if $(KEEP_FILES),--keep-files)

up: ## start everything in containers (needs Docker); makes their secrets the first time
	@$(or $(PYTHON),python3) -m deploy.compose
	docker compose up --build --detach --wait

down: ## stop the containers; their data stays
	docker compose down

logs: ## follow the containers' logs
	docker compose logs --follow --tail 50

psql: ## open psql on the containers' database
	docker compose exec postgres psql --username postgres mediabus

compose-check: setup ## check compose.yaml with the real parser, built once if Go is there; needs no Docker
	@$(RUN) -m deploy.compose.parser
	$(RUN) -m pytest tests/contract/test_compose.py
