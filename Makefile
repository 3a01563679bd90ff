# `make` alone lists the targets. Works with GNU make 3.81 and BSD tools.
#
# Whatever a target needs is made first: the virtual environment from the lock (again when the lock changed), and for
# the tests private RabbitMQ, Redis and PostgreSQL servers. ARGS is handed on: make test ARGS="tests/bus -x".

VENV = .venv
BIN = $(VENV)/bin
STACK = $(BIN)/python -m deploy.stack run
# One worker for each processor, four at most, each on servers of its own. One process: ARGS="-n 0".
SIDE_BY_SIDE = -n auto --dist loadgroup
NEEDS_SERVER = rabbitmq or redis or postgres or stack
# test_rules.py tests the tests' own rules, in processes of their own: `make test` runs it.
UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --python-version 3.11
ARGS =

# Hundreds of Python processes start in a run of the tests: what one has compiled, the next need not.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo up test test-embedded test-rabbitmq4 test-reliability check format bench lock wheel test-wheel docs clean

help:
	@echo "make demo            see it work: installs into $(VENV), captures real calls, takes half a minute"
	@echo "make test            every test, on private RabbitMQ, Redis and PostgreSQL servers"
	@echo "make test-embedded   the tests that need no server"
	@echo "make test-rabbitmq4  the bus's conformance suite on RabbitMQ 4"
	@echo "make test-reliability  200 vaults killed on each engine, one frozen for a minute, searches ten times as far"
	@echo "make check           format, lint, types, import contracts"
	@echo "make format          format the code, and fix what the linter can"
	@echo "make up              start Trunkline, everything in one process"
	@echo "make bench           measure against peers, side by side"
	@echo "make lock            pin the dependencies anew"
	@echo "make docs            write the generated documents anew"
	@echo "make wheel           build the wheel into dist/"
	@echo "make test-wheel      install the wheel in a clean environment and run it there"
	@echo "make clean           remove what these targets made"

demo: $(VENV)/.installed
	@$(BIN)/trunkline demo $(ARGS)

up: $(VENV)/.installed
	@$(BIN)/trunkline up $(ARGS)

test: $(VENV)/.installed-dev
	$(STACK) --copies auto --clients -- $(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-embedded: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not ($(NEEDS_SERVER))" --ignore=tests/test_rules.py $(ARGS)

test-rabbitmq4: $(VENV)/.installed-dev
	$(STACK) --only rabbitmq --rabbitmq4 -- $(BIN)/python -m pytest tests/conformance -m rabbitmq $(ARGS)

test-reliability: $(VENV)/.installed-dev
	TRUNKLINE_TEST_ROUNDS=200 TRUNKLINE_TEST_FROZEN_S=60 $(STACK) --only postgres,rabbitmq -- \
		$(BIN)/python -m pytest --durations=5 tests/services/request_vault/test_kill_rounds.py \
		tests/services/request_vault/test_instances.py \
		tests/services/request_vault/commands/test_backup_kills.py $(ARGS)
	TRUNKLINE_TEST_EFFORT=10 $(STACK) --copies auto --only postgres -- \
		$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m searches $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev $(VENV)-faststream/.installed $(VENV)-mitmproxy/.installed \
		$(VENV)-eventsourcing/.installed
	$(STACK) --only rabbitmq,postgres -- $(BIN)/python -m bench $(ARGS)

lock: $(VENV)/.installed-dev
	$(UV_COMPILE) $(ARGS) pyproject.toml --group build -o requirements.lock
	$(UV_COMPILE) $(ARGS) pyproject.toml --group dev -o requirements-dev.lock
	$(UV_COMPILE) $(ARGS) bench/peers/faststream.in -o bench/peers/faststream.lock
	$(UV_COMPILE) $(ARGS) bench/peers/mitmproxy.in -o bench/peers/mitmproxy.lock
	$(UV_COMPILE) $(ARGS) bench/peers/eventsourcing.in -o bench/peers/eventsourcing.lock

docs: $(VENV)/.installed-dev
	$(BIN)/python -m deploy.errors_doc
	$(BIN)/python -m deploy.config_doc

wheel: $(VENV)/.installed-dev
	rm -rf dist
	$(BIN)/python -m hatchling build --target wheel

test-wheel: wheel
	$(BIN)/python -m deploy.try_wheel dist/*.whl

clean:
	rm -rf $(VENV) $(VENV)-faststream $(VENV)-mitmproxy $(VENV)-eventsourcing .cache dist build .mypy_cache \
		.ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What an installation was made from is kept beside it: a folder is made anew when its lock has changed.

$(VENV)/.installed: requirements.lock deploy/venv.sh
	@sh deploy/venv.sh $(VENV) requirements.lock .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock deploy/venv.sh
	@sh deploy/venv.sh $(VENV) requirements-dev.lock .
	@touch $(VENV)/.installed $@

$(VENV)-faststream/.installed: bench/peers/faststream.lock
	@sh deploy/venv.sh $(VENV)-faststream $<
	@touch $@

$(VENV)-mitmproxy/.installed: bench/peers/mitmproxy.lock
	@sh deploy/venv.sh $(VENV)-mitmproxy $<
	@touch $@

$(VENV)-eventsourcing/.installed: bench/peers/eventsourcing.lock
	@sh deploy/venv.sh $(VENV)-eventsourcing $<
	@touch $@
