# Two commands: `make demo` and `make test`. Both set up what they need in .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# With a ROS 2 distribution sourced its packages are used; without one, real ROS 2 Jazzy comes as wheels.
ifdef ROS_DISTRO
EXTRAS := training,dev
VENV_FLAGS := --system-site-packages
else
EXTRAS := training,ros,dev
endif
STAMP := $(VENV)/.set-up

.PHONY: help setup demo test soak coverage lint format lock clean
help:
	@echo "make demo   map a rendered room, train its scene, localize a second recording live, write a report"
	@echo "make test   all tests;  make coverage  which lines they run"
	@echo "make soak   the nodes at work for MINUTES=30 while everything that can go wrong does"
	@echo "make lint   style, imports, types, and the licences of all packages;  make format  mends what ruff can"
	@echo "make setup  only the environment in $(VENV);  make clean  removes it"

setup: $(STAMP)

$(STAMP): setup.cfg setup.py pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed; run make PYTHON=python3.x"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV_FLAGS) $(VENV) || { echo "python3 cannot make environments; run: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock 'setuptools>=61' wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock --no-build-isolation -e '.[$(EXTRAS)]'
	@touch $@

demo: setup
	$(BIN)/python -m geo_training.demo --out demo

# A worker for each core but no more than four: nodes that are tested need time of their own. Files stay whole, since
# their tests share nodes.
WORKERS ?= $(shell cores=$$(nproc); echo $$((cores < 4 ? cores : 4)))
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -n $(WORKERS) --dist loadfile --max-worker-restart 1 --durations=10 --durations-min=1

# Faults at random: first none that ends the process, so that its memory can be followed, then kill -9, too; so many
# hostile messages in bursts. Memory and recovery as JSON at the end. Not a part of the tests: it takes its time.
MINUTES ?= 30
HOSTILE ?= 100000
soak: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/support/soak.py --minutes $(MINUTES) --hostile $(HOSTILE)

# Line coverage of both packages, in node processes too.
coverage: setup
	$(BIN)/python -m pytest tests --cov --cov-report=term --durations=10 --durations-min=1

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/python tools/licences.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pins what .venv holds now.
lock: setup
	$(BIN)/python tools/lock.py > requirements.lock.new && mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV) build install log demo
