# `make demo` and `make test` are the two to know. Both work on a fresh clone with Python 3.11 or 3.12 and a package index.
VENV := .venv
PY := $(VENV)/bin/python
SETUP := constraints.txt settings.ini setup.py

.PHONY: help demo test lab bench readme release clean

help: ## list the commands
	@sed -n 's/^\([a-z]*\):.*## /make \1|/p' Makefile | awk -F'|' '{printf "%-12s %s\n", $$1, $$2}'

demo: $(VENV)/.demo ## install, then run the support-desk loop on SmolLM2 and write a report to runs/
	$(VENV)/bin/rlops-lab demo $(ARGS)

test: $(VENV)/.dev ## install with the developers' tools, then check and run every notebook, then pytest
	OMP_NUM_THREADS=1 $(PY) .ci/check.py
	OMP_NUM_THREADS=1 $(PY) -m pytest

lab: $(VENV)/.dev ## open JupyterLab on the index
	$(VENV)/bin/jupyter lab --ServerApp.root_dir='$(CURDIR)' nbs/index.ipynb $(ARGS)

bench: $(VENV)/.dev ## run one benchmark, tests/benchmarks/NAME.py: make bench BENCH=NAME
	@test -f "tests/benchmarks/$(BENCH).py" || { echo "make bench BENCH=NAME, NAME one of:" \
		$(sort $(filter-out _%,$(basename $(notdir $(wildcard tests/benchmarks/*.py))))); exit 2; }
	$(PY) tests/benchmarks/$(BENCH).py $(ARGS)

readme: $(VENV)/.dev ## write README.md from nbs/index.ipynb
	$(PY) .ci/readme.py

release: $(VENV)/.dev ## check what a release needs: version, changelog, tag, a wheel in a clean environment
	$(PY) .ci/release.py

clean: ## remove what builds and tests leave behind; .venv and runs/ stay
	rm -rf build dist _docs _proc .pytest_cache .hypothesis
	find rlops_lab nbs tests .ci \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

# The stamps keep a second run from installing again. torch comes first because it is the large one: what can't be had fails early.
install = $(PY) -m pip install --disable-pip-version-check -c constraints.txt torch && \
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e '.[$(1)]' && touch $@

$(VENV)/.demo: $(SETUP) | $(PY)
	$(call install,train)

$(VENV)/.dev: $(SETUP) | $(PY)
	$(call install,train$(comma)dev$(comma)judge$(comma)environments$(comma)observe)

comma := ,

$(PY):
	@for python in python3.11 python3.12 python3; do \
		if $$python -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; \
		then echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); fi; \
	done; \
	echo "No usable Python 3.11 or 3.12 among python3.11, python3.12, python3. Install one, with its venv module (Debian: python3.11-venv)."; exit 1
