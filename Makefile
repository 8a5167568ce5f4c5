# `make run` and `make test` are all that a newcomer needs; both set everything up first.
PYTHON ?= python3
VENV ?= .venv
EXPERIMENT ?= tiny
SELECT ?= *

PEDIGREE_HOME ?= $(CURDIR)/.pedigree
export PEDIGREE_HOME
export DAGSTER_HOME = $(abspath $(PEDIGREE_HOME))/dagster
export PYTHONWARNINGS ?= ignore::DeprecationWarning,ignore::UserWarning:dagster

# make splits names at spaces, wherever they come from.
ifneq ($(words $(CURDIR) $(PEDIGREE_HOME)),2)
$(error The path of this checkout or PEDIGREE_HOME holds a space, which make can't handle; move it)
endif

# An experiment of this folder has a code location of its own; any other name or file goes through pipelines.custom.
ifneq ($(wildcard pipelines/$(EXPERIMENT).py),)
LOCATION := pipelines.$(EXPERIMENT)
else
LOCATION := pipelines.custom
export PEDIGREE_EXPERIMENT := $(if $(filter %.yaml %.yml,$(EXPERIMENT)),$(abspath $(EXPERIMENT)),$(EXPERIMENT))
endif

.PHONY: run test ui lint install

run: install
	$(VENV)/bin/pedigree plan $(EXPERIMENT)
	$(VENV)/bin/dagster asset materialize -m $(LOCATION) --select '$(SELECT)'
ifeq ($(SELECT),*)
	@echo; echo "The reports:"; $(VENV)/bin/pedigree report $(EXPERIMENT)
endif

# Processes share the cores; a file stays in one of them. Threads that spin while they wait would cost the others theirs.
test: install
	OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

ui: install
	$(VENV)/bin/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000

lint: install
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/dagster definitions validate -w workspace.yaml

install: $(VENV)/installed $(DAGSTER_HOME)/dagster.yaml

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(DAGSTER_HOME)/dagster.yaml: pipelines/dagster.yaml
	mkdir -p $(DAGSTER_HOME)
	cp $< $@
