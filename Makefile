# What a developer or an integrator does with a clone. `make` alone lists the targets.
#
#   PYTHON          the interpreter that .venv is made with, 3.11 or later (default: python3)
#   ARGS            words passed on, as in: make test ARGS="-k recall -x"
#   WORKERS         test processes side by side; most tests wait for a wire (default: 3; 0: none but pytest's own)
#   DIALER_PJSUA2   which pjsua2 `make install` puts into .venv:
#                     (empty)  our own build of pjproject; where it cannot be built, PyPI's wheel and a warning
#                     own      our own build, or fail
#                     wheel    PyPI's wheel: 4 calls a process and old TLS, for a quick look or where nothing compiles
#   PJPROJECT_TARBALL   pjproject's release tarball, where apt reaches no Debian archive to fetch it from
#   XDG_CACHE_HOME      its folder dialer/pjsua2 keeps the wheel, so that a second clone does not build it again

PYTHON ?= python3
ARGS ?=
WORKERS ?= 3
DIALER_PJSUA2 ?=

VENV := .venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --disable-pip-version-check --quiet
RECIPE := $(wildcard sip/build/*.py sip/build/*.h)
# One stamp for each choice of pjsua2, so that changing the choice installs again.
STAMP := $(VENV)/.installed-$(or $(DIALER_PJSUA2),any)

.PHONY: help
help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: install
install: $(STAMP) ## .venv with the dialer, the tools of its development and pjsua2 (first time: about two minutes)

.PHONY: test
test: install ## all tests but the slow ones
	$(RUN) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: lint
lint: install ## ruff, mypy, import contracts
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy deb/build.py
	$(VENV)/bin/lint-imports

.PHONY: demo
demo: install ## a campaign against the built-in called party, with live progress
	$(VENV)/bin/dialer demo $(ARGS)

.PHONY: bench
bench: install ## figures of this machine
	$(RUN) -m benchmarks $(ARGS)

.PHONY: deb
deb: install ## a Debian package for this release: dist/dialer_VERSION_ARCH.deb (needs dpkg-dev)
	@$(RUN) deb/build.py $(ARGS)

.PHONY: pjsua2
pjsua2: ## try again to build our own pjsua2, and install it
	rm -f $(VENV)/.installed-*
	$(MAKE) --no-print-directory install DIALER_PJSUA2=own

.PHONY: clean
clean: ## remove .venv and what tools leave behind; the cache of pjsua2 stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN):
	$(PYTHON) -m venv $(VENV)

# pjsua2 comes first, so that pip never looks for PyPI's wheel (Python 3.8 to 3.12, x86-64) where ours is there.
# Older pips know no dependency groups.
$(STAMP): pyproject.toml $(RECIPE) | $(RUN)
	@rm -f $(VENV)/.installed-*
	@$(PIP) install 'pip>=25.1'
	@case '$(DIALER_PJSUA2)' in \
	  '') pjsua2=$$($(RUN) -m sip.build) || pjsua2= ;; \
	  own) pjsua2=$$($(RUN) -m sip.build) || exit 1 ;; \
	  wheel) pjsua2='pjsua2-python<2.16' ;; \
	  *) echo "DIALER_PJSUA2 is '$(DIALER_PJSUA2)': own, wheel or empty" >&2; exit 2 ;; \
	esac; \
	echo 'Installing the dialer and its tools into $(VENV)'; \
	$(PIP) install $${pjsua2:+"$$pjsua2"} --editable . --group dev
	@$(RUN) -m sip.build --installed
	@touch $@
