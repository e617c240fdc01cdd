# Every target does its whole set-up: a fresh Debian 12 with python3, python3-venv and make is enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The clients that the relay is tested with: fifty packages that feedd has no use for.
CLIENTS := .venv-clients
# feedd as it is installed where there is a C compiler. It stands before the checkout, which has the same
# modules interpreted.
NATIVE := .native
IN_NATIVE := PYTHONSAFEPATH=1 PYTHONPATH=$(CURDIR)/$(NATIVE):$(CURDIR)
SOURCES := setup.py pyproject.toml $(shell find feedd -name '*.py')
# Real components that the tests talk to; installed only as root, only where missing.
APT_PACKAGES := prometheus prometheus-alertmanager systemd systemd-sysv systemd-container dbus libnss-systemd \
	procps util-linux iproute2 python3-venv shellcheck gcc python3-dev

.PHONY: run stack test lint types coverage unit unit-in-turn unit-meanwhile unit-alerts unit-broken \
	unit-benchmarks unit-drill unit-system unit-shell unit-outputs unit-deploy unit-sources unit-rules \
	unit-interpreted unit-interpreted-rules endurance mutations soak bench scale lock sample clean system-packages

run: $(VENV)/.run
	$(BIN)/feedd demo

# The clients take a minute to install where pip has not cached them: meanwhile the rest can be checked.
test:
	$(MAKE) --jobs=2 --output-sync=target lint types coverage $(NATIVE)/.installed $(CLIENTS)/.installed
	$(MAKE) unit

lint: $(VENV)/.dev
	$(BIN)/ruff check . deploy/stack
	$(BIN)/ruff format --check . deploy/stack

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/mypy deploy/grafana/dashboards.py deploy/stack
	$(BIN)/mypy examples

coverage: $(VENV)/.dev
	$(BIN)/python -m tests.core_coverage

# The benchmarks load the machine, which no timed test bears beside it. Alerts are timed to the tenth of a second, and
# code that is broken on purpose is given no second try: beside them runs what mostly waits, and what is judged by its
# findings only and takes no more time than the others leave.
unit: $(NATIVE)/.installed system-packages $(CLIENTS)/.installed
	$(MAKE) unit-benchmarks
	$(MAKE) --jobs=3 --output-sync=target unit-in-turn unit-sources unit-meanwhile
	$(MAKE) --jobs=2 --output-sync=target unit-system unit-outputs unit-shell

unit-in-turn:
	$(MAKE) unit-alerts
	$(MAKE) unit-broken
	$(MAKE) unit-drill

unit-meanwhile:
	nice -n 19 $(MAKE) unit-rules
	nice -n 19 $(MAKE) unit-deploy
	nice -n 19 $(MAKE) unit-interpreted-rules
	$(MAKE) unit-interpreted

unit-alerts unit-benchmarks unit-drill unit-system unit-shell unit-outputs unit-deploy unit-sources unit-rules: \
		$(NATIVE)/.installed
	$(IN_NATIVE) $(BIN)/python -X dev -m pytest --durations=5 $(TESTS)

unit-broken unit-interpreted unit-interpreted-rules: $(VENV)/.dev
	$(BIN)/python -X dev -m pytest --durations=5 $(TESTS)

unit-alerts: TESTS := tests/alerts
unit-benchmarks: TESTS := tests/benchmarks
unit-drill: TESTS := tests/drill
unit-system: TESTS := tests/system
unit-deploy: TESTS := tests/test_deploy.py
unit-sources: TESTS := tests/sources tests/exchange
unit-rules: TESTS := tests/core tests/venues
unit-broken: TESTS := -m interpreted
unit-interpreted: TESTS := tests/sources/live/test_aiohttp_socket.py tests/sources/live/test_live_feed.py
unit-interpreted-rules: TESTS := tests/venues
unit-outputs: TESTS := tests/outputs tests/client
unit-shell: TESTS := tests $(addprefix --ignore=tests/,alerts benchmarks drill system test_deploy.py sources exchange \
	core venues outputs client)

stack: $(VENV)/.run system-packages
	$(BIN)/python deploy/stack

endurance: $(NATIVE)/.installed
	$(IN_NATIVE) $(BIN)/python -X dev -m pytest -m endurance --timeout 600

soak: $(NATIVE)/.installed
	$(IN_NATIVE) $(BIN)/python -m tests.benchmarks.soak --messages 10000000

mutations: $(NATIVE)/.installed
	$(IN_NATIVE) $(BIN)/python -m tests.venues.binance.spot.mutations --frames 1000000

scale: $(NATIVE)/.installed
	$(IN_NATIVE) $(BIN)/python -m tests.benchmarks.scale

# All of it, or a part: make bench ONLY="flood live" ROUNDS=7
bench: $(NATIVE)/.installed
	$(IN_NATIVE) $(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(ROUNDS),--rounds $(ROUNDS))

lock: $(VENV)/.dev
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet pyproject.toml --group build --universal --python-version 3.11 \
		--generate-hashes --no-header --upgrade -o requirements.lock
	$(BIN)/uv pip compile --quiet pyproject.toml --group build --group dev --group bench --universal \
		--python-version 3.11 --generate-hashes --no-header --upgrade -o requirements-dev.lock
	$(BIN)/uv pip compile --quiet --group clients --universal --python-version 3.11 --generate-hashes \
		--no-header --upgrade -o requirements-clients.lock

sample: $(VENV)/.run
	$(BIN)/python -c "from feedd.config.describe import sample; print(sample(), end='')" >systemd/feedd.env

clean:
	rm -rf $(VENV) $(CLIENTS) $(NATIVE) .venv-bench build dist *.egg-info .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.run: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.run
	$(BIN)/pip install --quiet --require-hashes -r requirements-dev.lock
	touch $@

$(NATIVE)/.installed: $(SOURCES) $(VENV)/.dev | system-packages
	rm -rf $(NATIVE) build
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --target $(NATIVE) .
	touch $@

# cryptofeed comes as sources, which need a compiler; not optimised they compile faster.
$(CLIENTS)/.installed: requirements-clients.lock | system-packages
	$(PYTHON) -m venv $(CLIENTS)
	CFLAGS=-O0 $(CLIENTS)/bin/pip install --quiet --no-compile --require-hashes -r $< && touch $@ \
		|| echo "not installed, so tests that need them can't run: the clients of $<"

system-packages:
	@tests/install-system-packages $(APT_PACKAGES)
