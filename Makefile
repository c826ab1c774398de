# Everything here works from a clean clone, in a folder whose path has a space, with no environment
# activated. Tools run as `python -m`, because a script's first line cannot hold every path.

PY     ?= python3
VENV   := .venv
PYTHON := $(VENV)/bin/python
PYTEST_ARGS ?=

.PHONY: demo test check lint types contracts docs docs-reference docs-images soak clean
.DEFAULT_GOAL := help
.SUFFIXES:

.PHONY: help
help:  ## List the commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 16

# --- What a fresh machine needs. Each stamp is remade when what it was made from changes; the
# developer's set contains the demo's, so making one never undoes the other.

$(VENV)/.uv:
	@test -x $(PYTHON) || $(PY) -m venv $(VENV) \
		|| { echo "$(PY) cannot make a virtual environment; Debian: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check uv \
		|| echo "uv cannot be had here; going on with pip, which takes longer"
	@touch $@

# An environment remembers where the checkout is; after the folder was moved it is installed anew.
$(VENV)/.place: FORCE | $(VENV)/.uv
	@pwd | cmp -s - $@ || pwd > $@

.PHONY: FORCE
FORCE:

$(VENV)/.demo: $(VENV)/.place pyproject.toml constraints.txt
	@echo "installing Drivebay into $(VENV) ..."
	@$(call install,plot$(comma)analysis)
	@touch $@

$(VENV)/.dev: $(VENV)/.place pyproject.toml constraints.txt
	@echo "installing Drivebay and its development tools into $(VENV) ..."
	@$(call install,dev)
	@touch $@ $(VENV)/.demo

$(VENV)/.docs: $(VENV)/.place pyproject.toml constraints.txt
	@$(call install,docs)
	@touch $@

comma := ,
# uv is several times quicker than pip; where it cannot be had, pip does the same work.
install = if $(PYTHON) -m uv --version >/dev/null 2>&1; \
	then $(PYTHON) -m uv pip install --quiet --python $(PYTHON) -c constraints.txt -e '.[$(1)]'; \
	else $(PYTHON) -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e '.[$(1)]'; fi

# --- What people run.

demo: $(VENV)/.demo  ## Find a simulated instrument, sweep it, show and keep the result
	@$(PYTHON) -m drivebay demo

test: $(VENV)/.dev  ## Run the tests (PYTEST_ARGS='-k sweep' to choose)
	$(PYTHON) -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)

check: PYTEST_ARGS += --cov --cov-report=term  ## All that CI checks: format, lint, types, contracts, tests
check: lint types contracts test

lint: $(VENV)/.dev  ## Format and lint
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

types: $(VENV)/.dev  ## Type check
	$(PYTHON) -m mypy

contracts: $(VENV)/.dev  ## Which module may import which
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command as run; run(["--no-logo"])'

soak: $(VENV)/.dev  ## Long forms: 5,000 examples a property, ten times the kills, hangs and aborts
	HYPOTHESIS_PROFILE=soak DRIVEBAY_SOAK=10 $(PYTHON) -m pytest $(PYTEST_ARGS)

# The peers live in an environment of their own, so that they never meet the tests.
BENCH := .venv-bench
$(BENCH)/.ready: pyproject.toml constraints.txt Makefile | $(VENV)/.uv
	@test -x $(BENCH)/bin/python || $(PY) -m venv $(BENCH)
	@$(PYTHON) -m uv pip install --quiet --python $(BENCH)/bin/python -c constraints.txt \
		-e '.[all]' jsonschema npe2 pymeasure qcodes stevedore watchfiles
	@# Of instro only a simulator is used, which needs nothing; its own needs are large.
	@$(PYTHON) -m uv pip install --quiet --python $(BENCH)/bin/python --no-deps instro==1.22.0
	@touch $@

.PHONY: bench
bench: $(BENCH)/.ready  ## Measure beside limits and peers; writes docs/reference/performance.md
	$(BENCH)/bin/python benchmarks/run.py

.PHONY: reliability
reliability: $(VENV)/.dev  ## Run the crash laboratory; writes docs/reference/reliability.md
	$(PYTHON) benchmarks/reliability.py

docs-reference: $(VENV)/.dev  ## Write the generated pages of docs/reference anew
	$(PYTHON) docs/generate.py

docs-images: $(VENV)/.dev  ## Draw the pictures of the documentation anew
	$(PYTHON) docs/pictures.py

docs: $(VENV)/.docs  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict

clean:  ## Remove everything that was made here
	rm -rf $(VENV) $(BENCH) build dist site htmlcov .coverage .hypothesis .import_linter_cache \
		.mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
