# Requires only make and Python 3.11, 3.12 or 3.13: each target first installs its lock file into .venv.

# Candidates; the first suitable one is used. To choose one: make serve PYTHON=/path/to/python3.12
PYTHON ?= python3 python3.13 python3.12 python3.11

PY := .venv/bin/python

# Compiled files halve the time that each process takes to start; some machines switch them off.
export PYTHONDONTWRITEBYTECODE :=

# A stamp file records which lock is installed in .venv. Its name has the checksum of the lock, so that a checkout that
# only changes the modification time installs nothing. dev.lock contains cpu.lock, which contains serve.lock, with the
# same versions, so several stamps can exist at the same time.
stamp = .venv/$(1)-$(shell cksum <requirements/$(1).lock | tr ' ' -).stamp
SERVE := $(call stamp,serve)
CPU := $(call stamp,cpu)
DEV := $(call stamp,dev)

.NOTPARALLEL:
.PHONY: help serve imagenet train test test-all check contract fuzz fuzz-image mutants sbom audit bench bench-peers soak screenshots lock clean venv

help: ## list of targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(SERVE) ## start the server with the shipped classifiers on http://127.0.0.1:8000; settings: make serve APP_PORT=9000
	@exec $(PY) -m app

imagenet: $(CPU) ## download ImageNet's InceptionV3 once (or WEIGHTS=file) and serve its 1,000 classes
	$(PY) -m training run imagenet_inception_v3 $(if $(WEIGHTS),--weights "$$WEIGHTS")
	@APP_DEFAULT_MODEL=imagenet_inception_v3 exec $(PY) -m app

# NAME counts only on the command line, because some systems set a variable NAME.
train: $(if $(RECIPE),$(CPU)) ## train a classifier into the store: make train RECIPE=name-or-file [DATA=folder-or-archive] [NAME=name]
	@test -n "$$RECIPE" || { echo 'Name a recipe of training/recipes: make train RECIPE=cifar10 DATA=path' >&2; exit 2; }
	$(PY) -m training run "$$RECIPE" $(if $(DATA),--data "$$DATA") \
		$(if $(filter command,$(origin NAME)),--name "$$NAME")

# Test files are distributed over WORKERS processes, one more than CI has cores, because tests often wait. The checks run
# at the same time. Tests marked `quiet` measure time or memory and run alone afterwards.
WORKERS ?= 3
define run_tests
@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
$(MAKE) --no-print-directory check >"$$log" 2>&1 & check=$$!; \
OMP_WAIT_POLICY=passive $(PY) -m pytest -m "not quiet$(1)" -n $(WORKERS); tests=$$?; \
wait $$check; check=$$?; cat "$$log"; \
$(PY) -m pytest -m "quiet$(1)" $$(grep -rl 'mark\.quiet' tests --include='test_*.py'); quiet=$$?; \
test $$check -eq 0 || echo 'make check failed: see its output between the two pytest runs' >&2; \
exit $$((tests || check || quiet))
endef

test: $(DEV) ## run all checks and all tests that are not marked slow
	$(call run_tests, and not slow)

test-all: $(DEV) ## run all checks and all tests
	$(call run_tests)

check: $(DEV) ## run lint, format, type and import contract checks
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	.venv/bin/lint-imports --no-logo

contract: $(DEV) ## send some 2,000 requests generated from the OpenAPI document and check the responses; more: make contract CASES=500
	$(PY) -m tests.support.contract --max-examples $(or $(CASES),60)

fuzz: $(DEV) ## send 10,000 randomly mutated requests to a server; more: make fuzz CASES=100000 SEED=2
	$(PY) -m tests.support.fuzz --cases $(or $(CASES),10000) --seed $(or $(SEED),1)

fuzz-image: $(DEV) ## fuzz the image decoders with Atheris; first pip install atheris==3.0.0; longer: make fuzz-image SECONDS=3600
	@$(PY) -c 'import atheris' 2>/dev/null || \
		{ echo 'Atheris is not in the lock files: $(PY) -m pip install atheris==3.0.0 (Linux on x86_64)' >&2; exit 1; }
	$(PY) -m tests.support.fuzz_image -max_total_time=$(or $(SECONDS),300)

mutants: $(DEV) ## change the code in 300 places, one at a time, and report what no test notices, in an hour; a part: make mutants ONLY=app/batching COUNT=40 SEED=2
	$(PY) -m tests.support.mutation --count $(or $(COUNT),300) --seed $(or $(SEED),1) $(if $(ONLY),--only $(ONLY)) $(if $(UPDATE),--update)

sbom: $(DEV) ## write CycloneDX SBOMs of the server: sbom/serve.json, sbom/cpu.json and sbom/gpu.json
	@mkdir -p sbom
	for lock in serve cpu gpu; do $(PY) -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible \
		--output-file sbom/$$lock.json requirements/$$lock.lock || exit; done

audit: $(DEV) ## check the pinned versions for known vulnerabilities; fails if PyPI cannot be reached
	for lock in dev gpu; do $(PY) -m pip_audit --strict --require-hashes --disable-pip --requirement requirements/$$lock.lock || \
		{ echo 'Vulnerable, or not audited: see above. If PyPI cannot be reached, see Advisories in SECURITY.md' >&2; exit 1; }; done

bench: $(DEV) ## measure the performance claims on this machine in at most 30 minutes: docs/benchmarks.md
	$(PY) -m benchmarks engine
	$(PY) -m benchmarks throughput
	$(PY) -m benchmarks throughput --network 96
	$(PY) -m benchmarks latency
	$(PY) -m benchmarks connections --rounds 2
	$(PY) -m benchmarks heads
	$(PY) -m benchmarks overload
	$(PY) -m benchmarks recovery
	$(PY) -m benchmarks cancel
	$(PY) -m benchmarks memory
	$(PY) -m benchmarks start --lock requirements/serve.lock
	$(PY) -m benchmarks batch --rounds 3
	$(PY) -m benchmarks folder --rounds 1

bench-peers: $(DEV) ## compare with LitServe, BentoML, Ray Serve and mosec in an hour or more; resumes when run again
	$(PY) -m benchmarks peers

soak: $(DEV) ## run 30 minutes of mixed load, 10,000 disconnects and 20 restarts at full load; more: make soak MINUTES=600
	$(PY) -m benchmarks soak --minutes $(or $(MINUTES),30)
	$(PY) -m benchmarks disconnects
	$(PY) -m benchmarks restarts

screenshots: $(DEV) ## take the screenshots in docs/images again with an installed Chromium
	$(PY) -m tests.support.screenshots

# All locks have the same versions: dev.lock is resolved first, the others start from its pins. "fewest" keeps one
# version of each library for all Python versions, because a pickled head needs the versions that wrote it.
PEERS := $(patsubst %/requirements.txt,%,$(wildcard benchmarks/peers/*/requirements.txt tests/support/*/requirements.txt))
compile = $(PY) -m uv --no-config pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --override requirements/overrides.txt --custom-compile-command "make lock"
lock: ## update the locks from pyproject.toml, keeping pinned versions; to upgrade all: make lock UPGRADE=1
	$(PY) -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --no-deps \
		--requirement requirements/uv.txt
	$(compile) $(if $(UPGRADE),--upgrade) --extra cpu --extra dev --output-file requirements/dev.lock
	for lock in serve cpu gpu; do \
		cp requirements/dev.lock requirements/$$lock.lock; \
		$(compile) --extra $$lock --output-file requirements/$$lock.lock || exit; \
	done
	for peer in $(PEERS); do cp requirements/dev.lock $$peer/requirements.lock; \
		$(subst pyproject.toml,$$peer/requirements.txt,$(compile)) --output-file $$peer/requirements.lock || exit 1; done

clean: ## remove .venv and the caches of the tools
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find app benchmarks models training tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The file "unfinished" remains after an interrupted installation. In this case, and if the interpreter is missing or has
# changed, .venv is created again.
ifneq ($(shell test ! -e .venv/unfinished && $(PY) -c 'import pip' 2>/dev/null && echo complete),complete)
$(SERVE) $(CPU) $(DEV) lock: venv
endif

# Installing a lock also creates the stamps of the locks that it contains.
$(SERVE): lock_name := serve
$(SERVE): stamps := $(SERVE)
$(SERVE): size_gb := 0.2
$(CPU): lock_name := cpu
$(CPU): stamps := $(SERVE) $(CPU)
$(CPU): size_gb := 0.5
$(DEV): lock_name := dev
$(DEV): stamps := $(SERVE) $(CPU) $(DEV)
$(DEV): size_gb := 0.7
# --no-deps: a lock is complete, and requirements/overrides.txt lists the version bounds that it ignores.
$(SERVE) $(CPU) $(DEV):
	@echo 'Installing requirements/$(lock_name).lock into .venv: once, takes a minute or more, about $(size_gb) GB to download'
	@touch .venv/unfinished
	@$(PY) -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --no-deps \
		--requirement requirements/$(lock_name).lock
	@rm -f $(filter-out $(SERVE) $(CPU) $(DEV),$(wildcard .venv/*.stamp))
	@touch $(stamps)
	@rm .venv/unfinished

venv:
	@candidate=; for python in $(PYTHON); do \
		"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || continue; \
		candidate=$$python; \
		"$$python" -c 'import ensurepip' 2>/dev/null && exec "$$python" -m venv --clear .venv; \
	done; \
	if test -n "$$candidate"; then \
		echo "$$candidate cannot create virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; \
	else \
		echo "Python 3.11, 3.12 or 3.13 is required; none of these works: $(PYTHON). Set it: make PYTHON=path" >&2; \
	fi; \
	exit 1
