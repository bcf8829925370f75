# Everything starts here, with nothing installed but make and Python 3.11, 3.12 or 3.13: each target first brings .venv
# up to the lock.

# Candidates; the first that fits is taken. One's own: make serve PYTHON=/path/to/python3.12
PYTHON ?= python3 python3.13 python3.12 python3.11
UV := uv==0.13.9

PY := .venv/bin/python

# A stamp says which content of a lock .venv holds. Its name carries the content's checksum, so that a checkout which
# only touches the file installs nothing again. dev.lock contains cpu.lock, and that serve.lock, version for version: all
# stamps can stand side by side.
stamp = .venv/$(1)-$(shell cksum <requirements/$(1).lock | tr ' ' -).stamp
SERVE := $(call stamp,serve)
CPU := $(call stamp,cpu)
DEV := $(call stamp,dev)

.NOTPARALLEL:
.PHONY: help serve imagenet train test test-all check contract fuzz fuzz-image sbom audit bench bench-peers soak screenshots lock clean venv

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(SERVE) ## the server with the shipped classifiers on http://127.0.0.1:8000; settings: make serve APP_PORT=9000
	@exec $(PY) -m app

imagenet: $(CPU) ## ImageNet's InceptionV3, fetched once (or WEIGHTS=file), and a server with its 1,000 classes
	$(PY) -m training run imagenet $(if $(WEIGHTS),--weights "$$WEIGHTS")
	@APP_DEFAULT_MODEL=imagenet exec $(PY) -m app

train: $(if $(RECIPE),$(CPU)) ## from a dataset to a classifier in the store: make train RECIPE=name-or-file [DATA=folder-or-archive]
	@test -n "$$RECIPE" || { echo 'Which one of training/recipes? make train RECIPE=cifar10 DATA=path' >&2; exit 2; }
	$(PY) -m training run "$$RECIPE" $(if $(DATA),--data "$$DATA")

test: check ## every check, and every test that is not marked slow
	$(PY) -m pytest -m "not slow"

test-all: check ## every check and every test
	$(PY) -m pytest

check: $(DEV) ## lint, format, types, import contracts
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports --no-logo

contract: $(DEV) ## some 2,000 requests made from the OpenAPI document, every answer held to it; more: make contract CASES=500
	$(PY) -m tests.support.contract --max-examples $(or $(CASES),60)

fuzz: $(DEV) ## 10,000 requests, mutated at random, against a server; more: make fuzz CASES=100000 SEED=2
	$(PY) -m tests.support.fuzz --cases $(or $(CASES),10000) --seed $(or $(SEED),1)

fuzz-image: $(DEV) ## files that Atheris makes up, decoded; first pip install atheris==3.0.0; longer: make fuzz-image SECONDS=3600
	@$(PY) -c 'import atheris' 2>/dev/null || \
		{ echo 'Atheris is in no lock: $(PY) -m pip install atheris==3.0.0 (Linux on x86_64)' >&2; exit 1; }
	$(PY) -m tests.support.fuzz_image -max_total_time=$(or $(SECONDS),300)

sbom: $(DEV) ## what the server is made of, as CycloneDX: sbom/serve.json, sbom/cpu.json and sbom/gpu.json
	@mkdir -p sbom
	for lock in serve cpu gpu; do $(PY) -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file sbom/$$lock.json requirements/$$lock.lock || exit; done

audit: $(DEV) ## known vulnerabilities of what the locks pin; fails where the advisories cannot be reached
	for lock in dev gpu; do $(PY) -m pip_audit --strict --require-hashes --disable-pip --requirement requirements/$$lock.lock || \
		{ echo 'Not audited, or vulnerable: see above. Where PyPI cannot be asked: SECURITY.md, Advisories' >&2; exit 1; }; done

bench: $(DEV) ## what is claimed of speed, measured on this machine in at most 30 minutes: docs/benchmarks.md
	$(PY) -m benchmarks engine
	$(PY) -m benchmarks throughput
	$(PY) -m benchmarks throughput --network 96
	$(PY) -m benchmarks latency
	$(PY) -m benchmarks connections --rounds 2
	$(PY) -m benchmarks heads
	$(PY) -m benchmarks overload
	$(PY) -m benchmarks cancel
	$(PY) -m benchmarks memory
	$(PY) -m benchmarks start --lock requirements/serve.lock
	$(PY) -m benchmarks batch --rounds 3
	$(PY) -m benchmarks folder --rounds 1

bench-peers: $(DEV) ## beside LitServe, BentoML, Ray Serve and mosec: an hour or more; run again, it goes on where it was
	$(PY) -m benchmarks peers

soak: $(DEV) ## 30 minutes of mixed load, 10,000 disconnects, 20 restarts at full load; more: make soak MINUTES=600
	$(PY) -m benchmarks soak --minutes $(or $(MINUTES),30)
	$(PY) -m benchmarks disconnects
	$(PY) -m benchmarks restarts

screenshots: $(DEV) ## the pictures in docs/images, taken anew with an installed Chromium
	$(PY) -m tests.support.screenshots

# All locks hold the same versions: dev.lock is resolved first, the others start from its pins. "fewest" keeps one
# version of each library for all Pythons, because a pickled head is bound to the versions that wrote it.
PEERS := $(patsubst %/requirements.txt,%,$(wildcard benchmarks/peers/*/requirements.txt))
compile = $(PY) -m uv --no-config pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --override requirements/overrides.txt --custom-compile-command "make lock"
lock: ## the locks from pyproject.toml, keeping what is pinned; the newest of everything: make lock UPGRADE=1
	$(PY) -m pip install --quiet --disable-pip-version-check $(UV)
	$(compile) $(if $(UPGRADE),--upgrade) --extra cpu --extra dev --output-file requirements/dev.lock
	for lock in serve cpu gpu; do \
		cp requirements/dev.lock requirements/$$lock.lock; \
		$(compile) --extra $$lock --output-file requirements/$$lock.lock || exit; \
	done
	for peer in $(PEERS); do cp requirements/dev.lock $$peer/requirements.lock; \
		$(subst pyproject.toml,$$peer/requirements.txt,$(compile)) --output-file $$peer/requirements.lock || exit 1; done

clean: ## removes .venv and the caches of the tools
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find app benchmarks models training tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The mark "unfinished" outlives an installation that was interrupted; then, as when the interpreter has gone or
# changed, .venv is made anew.
ifneq ($(shell test ! -e .venv/unfinished && $(PY) -c 'import pip' 2>/dev/null && echo whole),whole)
$(SERVE) $(CPU) $(DEV) lock: venv
endif

# A lock counts for those that it contains.
$(SERVE): from := serve
$(SERVE): holds := $(SERVE)
$(SERVE): size := 0.2
$(CPU): from := cpu
$(CPU): holds := $(SERVE) $(CPU)
$(CPU): size := 0.5
$(DEV): from := dev
$(DEV): holds := $(SERVE) $(CPU) $(DEV)
$(DEV): size := 0.7
# --no-deps: a lock is whole, and requirements/overrides.txt says where it leaves a bound of a library aside.
$(SERVE) $(CPU) $(DEV):
	@echo 'Installing requirements/$(from).lock into .venv: once, a minute or more, about $(size) GB to download'
	@touch .venv/unfinished
	@$(PY) -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --no-deps \
		--requirement requirements/$(from).lock
	@rm -f $(filter-out $(SERVE) $(CPU) $(DEV),$(wildcard .venv/*.stamp))
	@touch $(holds)
	@rm .venv/unfinished

venv:
	@found=; for python in $(PYTHON); do \
		"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue; \
		found=$$python; \
		"$$python" -c 'import ensurepip' 2>/dev/null && exec "$$python" -m venv --clear .venv; \
	done; \
	if test -n "$$found"; then \
		echo "$$found cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	else \
		echo "Python 3.11, 3.12 or 3.13 is needed; found none as $(PYTHON). Name yours: make PYTHON=path" >&2; \
	fi; \
	exit 1
