# Two commands do everything: `make run` (raw documents to a released chat model) and `make test` (all tests, real services).
PYTHON ?= python3.11
BIN := .venv/bin
AUDIT := .venv-audit/bin
RECIPE ?= recipes/tiny.yaml
SERVICES ?= .services
PLATFORM ?= infra/platforms/development.yaml
TEST_PROCESSES ?= 2
REGISTRY ?= localhost/reynard
IMAGES ?= cpu cuda
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: run test test-fast lint services stop-services deploy deploy-platform images test-images audit install install-test clean

run: .venv/.installed  ## raw documents to a released chat model, on this machine
	$(BIN)/reynard run $(RECIPE)

test: .venv/.installed-test lint  ## everything, slow ring (real Ray, DeepSpeed, S3 and MLflow servers) included
	$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) -m "not slow"
	$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) --dist loadfile --durations=60 -m slow

test-fast: .venv/.installed-test  ## the default ring
	$(BIN)/python -m pytest -q -n $(TEST_PROCESSES) -m "not slow"

lint: .venv/.installed-test  ## style, import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

services: .venv/.installed-test  ## a real S3 server and a real MLflow server on loopback; prints the variables to export
	$(BIN)/python -m infra.local.services start $(SERVICES)

stop-services:
	$(BIN)/python -m infra.local.services stop $(SERVICES)

deploy-platform: .venv/.installed-test  ## Flyte, KubeRay, Kueue, MLflow, monitoring into the cluster at hand; DRY_RUN=1 renders and checks, and touches nothing
	$(BIN)/python -m infra.platform $(PLATFORM) $(if $(DRY_RUN),--dry-run)

deploy: .venv/.installed-test  ## this commit: tests, images, registration, a smoke run, launch plans; DRY_RUN=1 prints and checks it all, SKIP="tests smoke" leaves out
	$(BIN)/python -m infra.deploy $(PLATFORM) $(if $(DRY_RUN),--dry-run) $(addprefix --skip=,$(SKIP))

images: .venv/.installed-test  ## this tree's images, by docker, podman or buildah: TORCH_INDEX=ADDRESS, IMAGES=cpu for one, BUILD_FLAGS for the engine
	$(BIN)/python -m containers.build $(REGISTRY) $(IMAGES)

test-images: IMAGES = cpu
test-images: images  ## the CPU image (IMAGES="cpu cuda": both) without root, rights and network on a read-only disk: packages, KubeRay's probe, recipes/tiny.yaml
	for image in $$($(BIN)/python -m containers.build $(REGISTRY) $(IMAGES) --name); do \
	  REYNARD_IMAGE=$$image $(BIN)/python -m pytest -q -m slow tests/deployment/test_image.py || exit 1; done

audit: .venv/.installed-test .venv-audit/.installed  ## policies of manifests and images (checkov), known vulnerabilities of all locked packages (pip-audit; asks the index)
	PATH="$(abspath $(AUDIT)):$$PATH" $(BIN)/python -m pytest -q -m slow tests/infra/test_platform.py -k checkov
	$(AUDIT)/pip-audit --requirement containers/cuda.lock --requirement containers/tiny.lock --require-hashes --disable-pip --strict

install: .venv/.installed
install-test: .venv/.installed-test

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/.installed: .venv/bin/python pyproject.toml constraints.txt recipes/tiny.requirements.txt
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	$(BIN)/pip install --quiet --no-deps --requirement recipes/tiny.requirements.txt
	touch $@

.venv/.installed-test: .venv/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

.venv-audit/.installed: Makefile  # apart: checkov's pinned packages do not fit beside ours
	$(PYTHON) -m venv .venv-audit
	$(AUDIT)/pip install --quiet checkov==3.3.30 pip-audit==2.10.1
	touch $@

clean:
	rm -rf .venv .venv-audit runs .services
