# make demo: see it run (EXIT=1: check it and stop) · make test: the whole suite · make test-long: 50 kills, kept in test-long.log · make lint
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: demo test test-long lint browser database proxies soak soak-viewers clean-venv

PYTHON ?= python3
VENV ?= .venv
PY := $(VENV)/bin/python
EXIT ?=
SOAK ?=
ARRIVALS ?=
KILLS ?= 50
# torch alone is looked for here too, because the plain index brings CUDA on Linux; where it cannot be reached, pip warns and goes on
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check --build-constraint constraints.txt -c constraints.txt

demo: $(VENV)/demo.stamp
	$(PY) -m mediaserver.demo $(if $(EXIT),--exit)

test: $(VENV)/test.stamp lint browser database proxies
	$(PY) -m mediaserver setup
	$(PY) -m pytest

test-long: $(VENV)/test.stamp
	$(PY) -m mediaserver setup
	set -o pipefail; KILLS=$(KILLS) $(PY) -m pytest -v tests/mediaserver/test_kills.py 2>&1 | tee test-long.log

lint: $(VENV)/test.stamp
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# $CHROMIUM, else Debian's package (root may install it), else Playwright's own; the last line says what to type where none can be had
browser: $(VENV)/test.stamp
	@$(PY) tests/chromium.py >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && grep -qs '^ID=debian' /etc/os-release && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$(cat apt.txt); } \
	|| $(PY) -m playwright install chromium || true
	@$(PY) tests/chromium.py

# Debian's postgresql (root may install it); the last line says what to type where there is none
database: $(VENV)/test.stamp
	@$(PY) tests/cluster.py >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql; } || true
	@$(PY) tests/cluster.py

# the reverse proxies whose recipes in deploy/ are run (root may install them on Debian)
proxies: $(VENV)/test.stamp
	@$(PY) tests/proxies.py >/dev/null 2>&1 \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends nginx-light caddy; } || true
	@$(PY) tests/proxies.py

# 2,000 clients for five minutes while chapters are published anew; the output is kept. SOAK="--workers 2 --minutes 1"
soak: $(VENV)/test.stamp
	set -o pipefail; $(PY) -m benchmarks.soak $(SOAK) 2>&1 | tee soak.log
	$(MAKE) soak-viewers

# viewers who come by chance, ten minutes each at 0.8 and 1.2 times what `doctor --capacity` states; the output is kept. ARRIVALS="--minutes 2"
soak-viewers: $(VENV)/test.stamp
	$(PY) -m mediaserver setup
	set -o pipefail; $(PY) -m benchmarks.arrivals $(ARRIVALS) 2>&1 | tee soak-viewers.log

$(VENV)/pip.stamp: bootstrap.py constraints.txt
	$(PYTHON) bootstrap.py $(VENV)
	$(PY) -m pip install -qq --disable-pip-version-check -c constraints.txt pip
	@touch $@

$(VENV)/demo.stamp: $(VENV)/pip.stamp pyproject.toml
	@echo "installing the server and the sample's voice"
	$(PIP_INSTALL) -e '.[demo]'
	@touch $@

$(VENV)/test.stamp: $(VENV)/pip.stamp pyproject.toml
	@echo "installing the server and everything that the tests need"
	$(PIP_INSTALL) --no-deps $(if $(TORCH_INDEX),--retries 0 --extra-index-url $(TORCH_INDEX)) torch==2.13.0
	$(PIP_INSTALL) -e '.[demo,train,test]'
	@touch $@ $(VENV)/demo.stamp

clean-venv:
	rm -rf $(VENV)
