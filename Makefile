# `make run` and `make test` are all that a newcomer needs; both set everything up first.
PYTHON ?= python3
VENV ?= .venv
EXPERIMENT ?= tiny
SELECT ?= *

PEDIGREE_HOME ?= $(CURDIR)/.pedigree
export PEDIGREE_HOME
export DAGSTER_HOME = $(abspath $(PEDIGREE_HOME))/dagster
export PYTHONWARNINGS ?= ignore::DeprecationWarning

# make splits names at spaces, wherever they come from.
ifneq ($(words $(CURDIR) $(PEDIGREE_HOME)),2)
$(error The path of this checkout or PEDIGREE_HOME holds a space, which make can't handle; move it)
endif

.PHONY: run test ui lint docs install

# The plan, `dg launch`, and where the reports are, all in one process. YES=1 agrees to what it would ask about.
run: install
	$(VENV)/bin/pedigree launch $(EXPERIMENT) --select '$(SELECT)' $(if $(YES),--yes)

# Processes share the cores; a file stays in one of them. More threads would only cost the others theirs.
# Tests start hundreds of processes. Compiling first saves each of them the work, also where Python may write no bytecode.
test: install
	$(VENV)/bin/python -m compileall -q llm_core assets pipelines
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(VENV)/bin/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

ui: install
	$(VENV)/bin/dg dev -w workspace.yaml -h 127.0.0.1 -p 3000

lint: install
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	# `dg check defs` knows no workspace.yaml; this prints that it is superseded, as a FutureWarning.
	PYTHONWARNINGS=ignore::FutureWarning $(VENV)/bin/dagster definitions validate -w workspace.yaml

# The documentation as a site, in build/docs. A broken link fails.
docs: install
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build

install: $(VENV)/installed $(DAGSTER_HOME)/dagster.yaml

# `made_by_make` marks an environment that make began, `installed` one that is whole. What an interrupted or failed
# installation of make left is made anew; any other folder of that name is somebody's own, and make removes nothing of it.
$(VENV)/installed: pyproject.toml constraints.txt
	@if test -e $(VENV)/made_by_make && ! test -e $@; then \
	  echo "$(VENV): an installation was interrupted here; making it anew"; rm -rf $(VENV); \
	fi
	@if test -e $(VENV) && ! $(VENV)/bin/python -m pip --version >/dev/null 2>&1; then \
	  echo "$(VENV) is no environment with pip, and not made by make: remove it, or name another (make VENV=...)" >&2; \
	  exit 1; \
	fi
	@if test -e $(VENV); then python=$(VENV)/bin/python; else python=$(PYTHON); fi; \
	set -- $$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null \
	  | sed -n 's/^[^0-9]*\([0-9][0-9]*\)\.\([0-9][0-9]*\).*/\1 \2/p'); \
	if test $$# -ne 2; then \
	  echo "$$python does not run; name a Python of 3.11 or newer: make PYTHON=/path/to/python3" >&2; exit 1; \
	elif test $$1 -lt 3 || { test $$1 -eq 3 && test $$2 -lt 11; }; then \
	  echo "Pedigree needs Python 3.11 or newer, and $$python is $$1.$$2; name another: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi
	test -e $(VENV) || { mkdir -p $(VENV) && touch $(VENV)/made_by_make && $(PYTHON) -m venv $(VENV); }
	# pip would compile on one core; here all cores do, without the packages' own tests. What can't be compiled is left.
	$(VENV)/bin/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@$(VENV)/bin/python -W ignore -m compileall -qq -j 0 -x 'site-packages/.*/tests?/' \
	  "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || true
	touch $@

$(DAGSTER_HOME)/dagster.yaml: pipelines/dagster.yaml | $(VENV)/installed
	mkdir -p $(DAGSTER_HOME)
	cp $< $@
