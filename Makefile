# Autos. `make` lists the targets; each target sets up .venv first.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/ready
READY_BENCH := .venv/ready-bench
LOCKED := deploy/locked
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1@/p' $(MAKEFILE_LIST) | column -t -s @

# Every file that is installed has a hash in the lock. No build fetches its own tools: setuptools is in the first lock.
$(READY): $(LOCKED)/requirements.txt $(LOCKED)/requirements-dev.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 is required: install it or set PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is required; $(PYTHON) is older. Set PYTHON=..."; exit 1; }
	@echo "setting up .venv"
	@"$(PYTHON)" -m venv .venv
	@$(PIP) --require-hashes --only-binary :all: -r $(LOCKED)/requirements.txt
	@$(PIP) --require-hashes --no-build-isolation -r $(LOCKED)/requirements-dev.txt
	@$(PIP) --no-index --no-deps --no-build-isolation -e .
	@touch $(READY)

setup: $(READY) ## the virtual environment, with everything pinned

demo: $(READY) ## the main use in one command: two sandbox cases, fetched, stored and reported
	@$(BIN)/python -m dev.demo

run: $(READY) ## everything, supervised until Ctrl-C; ARGS=--adopt-bucket after a restore
	@exec $(BIN)/python -m dev.run $(ARGS)

secret: $(READY) ## prints the key of the webhook signatures of make run
	@$(BIN)/python -m dev.secret

client: $(READY) ## a token for a client, NAME=...; SECRET=new for a webhook secret; REMOVE=<beginning of a hash>
	@NAME="$(NAME)" REMOVE="$(REMOVE)" SECRET="$(SECRET)" $(BIN)/python -m dev.client_token

# Kept bytecode halves the start of each process, and the tests start some hundreds.
test: $(READY) ## all tests, against the real servers
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

test-debian: $(READY) ## a case on Debian's PostgreSQL and Redis, with the documented rights; they must be installed
	$(BIN)/python -m pytest -q tests/debian/debian.py

packaging: $(READY) ## tests the installed package, beside proto-plus and with the oldest libraries, and the image's build; ARGS=python3.13
	@$(BIN)/python -m tests.packaging $(ARGS)

stubs: $(READY) ## stubs for Go, Java, TypeScript and C#, compiled and called: docs/howto/generate-clients.md
	@$(BIN)/python -m tests.stubs $(ARGS)

chaos: $(READY) ## jobs under random faults by a seed, then checks; ARGS="--seeds 5 --jobs 200"
	@$(BIN)/python -m tests.chaos $(ARGS)

killpoints: $(READY) ## kill -9 at every named point, 20 times each; ARGS="--times 1 mid-put"
	@$(BIN)/python -m tests.killpoints $(ARGS)

outages: $(READY) ## each server unavailable for a minute during a job; ARGS="--seconds 10"
	@$(BIN)/python -m tests.chaos.outages $(ARGS)

$(READY_BENCH): $(LOCKED)/requirements-bench.txt $(READY)
	@$(PIP) --require-hashes --no-build-isolation -r $(LOCKED)/requirements-bench.txt
	@touch $(READY_BENCH)

bench: $(READY_BENCH) ## its speed, compared with a plain loop, rclone and Celery; ARGS="throughput --rounds 1 --quick"
	@$(BIN)/python -m tests.bench.speed $(ARGS)

bench-guest: $(READY) ## 50 jobs at a portal that allows 10 at once; ARGS="--jobs 20", "--simulate"
	@$(BIN)/python -m tests.bench.portal_load $(ARGS)

bench-watch: $(READY) ## 5,000 watchers on one server process; ARGS="--watchers 1000 --jobs 50"
	@$(BIN)/python -m tests.bench.watch $(ARGS)

flows: $(READY) ## counts the files that run in the three main flows; ARGS="--times 5"
	@$(BIN)/python -m tests.flows $(ARGS)

mutants: $(READY) ## removes one safeguard at a time: the tests must fail
	@$(BIN)/python -m tests.mutants $(ARGS)

check: $(READY) ## ruff, mypy, import rules, no SQL in strings, plain words, locks, buf, generated code and pages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m dev.checks.sql_strings
	$(BIN)/python -m dev.checks.words
	$(BIN)/python -m dev.checks.locks
	$(BIN)/buf lint proto
	$(BIN)/buf format proto --diff --exit-code
	$(BIN)/buf breaking proto --against proto/base.binpb
	$(BIN)/python -m dev.check_generated
	$(BIN)/python -m dev.reference

# A change of the contract that breaks callers is refused before the base is renewed.
proto: $(READY) ## all generated code, and the base of the contract
	$(BIN)/buf breaking proto --against proto/base.binpb
	$(BIN)/python -m dev.check_generated --write

# colorama and tzdata are for Windows only. The package itself has no file to hash.
lock: $(READY) ## pins with hashes, from requirements*.txt; needs the package registry
	@mkdir -p $(LOCKED)
	@for name in requirements*.txt; do \
		$(BIN)/uv pip compile --quiet --no-config --upgrade --universal --python-version 3.11 --generate-hashes \
			--no-annotate --custom-compile-command "make lock" \
			--no-emit-package autos --no-emit-package colorama --no-emit-package tzdata \
			"$$name" --output-file "$(LOCKED)/$$name" || exit 1; \
	done
	@$(BIN)/python -m dev.checks.locks

docs: $(READY) ## the generated pages: API, errors, settings, mutation tests
	@$(BIN)/python -m dev.reference --write

clean: ## removes .venv and the data of make run
	rm -rf .venv var

.PHONY: help setup demo run secret client test test-debian packaging stubs chaos killpoints outages bench bench-guest bench-watch flows mutants check proto lock docs clean
