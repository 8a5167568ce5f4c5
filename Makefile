# `make run` and `make test` are all that a newcomer needs; both set everything up first.
PYTHON ?= python3
VENV ?= .venv
EXPERIMENT ?= tiny
SELECT ?= *

PEDIGREE_HOME ?= .pedigree
override PEDIGREE_HOME := $(abspath $(PEDIGREE_HOME))
export PEDIGREE_HOME
export DAGSTER_HOME := $(PEDIGREE_HOME)/dagster
export PYTHONWARNINGS ?= ignore::DeprecationWarning,ignore::UserWarning:dagster

# An experiment of this folder has a code location of its own; any other file goes through pipelines.custom.
ifneq ($(wildcard pipelines/$(EXPERIMENT).py),)
LOCATION := pipelines.$(EXPERIMENT)
else
LOCATION := pipelines.custom
export PEDIGREE_EXPERIMENT := $(abspath $(EXPERIMENT))
endif

.PHONY: run test ui lint install

run: install
	$(VENV)/bin/pedigree plan $(EXPERIMENT)
	$(VENV)/bin/dagster asset materialize -m $(LOCATION) --select '$(SELECT)'
	@echo; echo "The report:"; $(VENV)/bin/pedigree report $(EXPERIMENT)

test: install
	$(VENV)/bin/python -m pytest

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
